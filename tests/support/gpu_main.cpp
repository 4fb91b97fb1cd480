// The main program of tests that run on a GPU: where none can be used they are skipped, with the reason.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "device/accelerators.h"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // as ctest is told (SKIP_RETURN_CODE)
  const dptrain::Accelerators found = dptrain::accelerators();
  if (found.usable.empty()) {
    std::printf("skipped: %s\n", found.missing.c_str());
    return kSkipped;
  }
  return doctest::Context(argc, argv).run();
}

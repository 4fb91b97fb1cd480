// Uses dptrain as a library: prints the shape of a batch.
#include <cstdio>

#include "core/shape.h"

int main() {
  const dptrain::Shape batch{64, 1, 28, 28};
  std::printf("a batch of %s: %lld values\n", batch.text().c_str(), static_cast<long long>(batch.elements()));
}

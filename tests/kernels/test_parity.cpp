// The CPU's operations against float64 references.
#include <doctest/doctest.h>

#include <cstring>

#include "support/layouts.h"
#include "support/one_thread.h"
#include "support/parity.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

Backend cpu() {
  return {.kernels = make_cpu_kernels(),
          .layouts = all_layouts,
          .read = [](const void* device, std::size_t bytes, void* host) { std::memcpy(host, device, bytes); },
          .run = [](const std::function<void()>& enqueue) { enqueue(); }};
}

}  // namespace

TEST_CASE("the CPU's operations are the references' on chosen shapes") {
  Backend backend = cpu();
  check_chosen_shapes(backend);
}

TEST_CASE("the CPU's operations are the references' on random shapes") {
  Backend backend = cpu();
  CHECK(check_random_shapes(backend));
}

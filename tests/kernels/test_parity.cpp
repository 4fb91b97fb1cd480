// The CPU's operations against float64 references.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <vector>

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

TEST_CASE("bias pointers are ignored where there is no bias") {
  const auto kernels = make_cpu_kernels();
  const Shape image{5, 6, 6};
  const auto check = [](AffineOperation& operation, std::int64_t in, std::int64_t batch) {
    operation.prepare(batch);
    const std::int64_t out = operation.output().size();
    const Buffer x = Buffer::host_floats(batch * in), y = Buffer::host_floats(batch * out),
                 weight = Buffer::host_floats(operation.weight_floats()), bias = Buffer::host_floats(out);
    const auto fill = [](const Buffer& buffer, std::int64_t floats, float value) {
      std::fill_n(buffer.floats(), floats, value);
    };
    fill(x, batch * in, 0.5f);
    fill(weight, operation.weight_floats(), 0.25f);
    fill(bias, out, 77.0f);
    operation.forward(0, x.floats(), weight.floats(), nullptr, y.floats());
    const std::vector<float> without(y.floats(), y.floats() + batch * out);
    operation.forward(0, x.floats(), weight.floats(), bias.floats(), y.floats());
    CHECK(std::equal(without.begin(), without.end(), y.floats()));
    operation.backward_weights(0, x.floats(), y.floats(), weight.floats(), bias.floats());
    CHECK(std::all_of(bias.floats(), bias.floats() + out, [](float f) { return f == 77.0f; }));
  };
  check(*kernels->convolution({.input = TensorDesc(image),
                               .spec = {.out_channels = 7, .kernel_height = 3, .kernel_width = 3, .bias = false},
                               .activation = {},
                               .full_batch = 4}),
        image.elements(), 4);
  // Few weights go through a matrix product, many through an inner product.
  for (const std::int64_t features : {30, 1000})
    check(*kernels->linear({.input = TensorDesc(Shape{features}),
                            .out_features = 203,
                            .bias = false,
                            .activation = {},
                            .full_batch = 4}),
          features, 4);
}

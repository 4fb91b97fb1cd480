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

Backend cpu(ElementType type = ElementType::float32) {
  return {.kernels = make_cpu_kernels(),
          .layouts = all_layouts,
          .read = [](const void* device, std::size_t bytes, void* host) { std::memcpy(host, device, bytes); },
          .run = [](const std::function<void()>& enqueue) { enqueue(); },
          .type = type};
}

bool has_bf16() {
  const std::string missing = cpu_lacks(ElementType::bfloat16);
  if (!missing.empty()) MESSAGE("skipped: " << missing);
  return missing.empty();
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

TEST_CASE("in bfloat16 they are the references' on chosen shapes") {
  if (!has_bf16()) return;
  Backend backend = cpu(ElementType::bfloat16);
  check_chosen_shapes(backend);
}

TEST_CASE("in bfloat16 they are the references' on random shapes") {
  if (!has_bf16()) return;
  Backend backend = cpu(ElementType::bfloat16);
  CHECK(check_random_shapes(backend));
}

// One size does not show what another does: vectors of 16 and 32 channels, tiles of 16 rows, and what is left of them.
TEST_CASE("in bfloat16 convolutions are the references' with any channels, strides, padding and groups") {
  if (!has_bf16()) return;
  Backend backend = cpu(ElementType::bfloat16);
  const auto check = [&](std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                         std::int64_t groups, std::int64_t batch, std::int64_t extent) {
    const std::int64_t padding = kernel / 2;
    check_convolution(backend, Shape{in, extent, extent + 1},
                      {.out_channels = out,
                       .kernel_height = kernel,
                       .kernel_width = kernel,
                       .stride_height = stride,
                       .stride_width = stride,
                       .padding_height = padding,
                       .padding_width = padding,
                       .groups = groups},
                      {}, batch);
  };
  for (const std::int64_t in : {1, 3, 16, 20, 32, 64}) {
    for (const std::int64_t out : {8, 16, 33, 64}) {
      for (const std::int64_t kernel : {1, 3, 5}) {
        for (const std::int64_t stride : {1, 2}) check(in, out, kernel, stride, 1, 3, 9);
      }
    }
  }
  // oneDNN 2.6.3 has a kernel for AVX-512 that is wrong where these are odd, and enough pixels are there to overlook
  // it.
  for (const std::int64_t odd : {17, 31, 33, 47, 65}) {
    check(16, odd, 1, 1, 1, 2, 9);
    check(odd, 16, 1, 1, 1, 2, 9);
    check(2 * odd, 2 * odd, 1, 1, 2, 2, 9);
  }
  for (const std::int64_t channels : {8, 32, 48}) {
    for (const std::int64_t groups : {std::int64_t{2}, std::int64_t{4}, channels}) {
      for (const std::int64_t stride : {1, 2}) check(channels, channels, 3, stride, groups, 3, 8);
    }
  }
  check(16, 32, 3, 2, 1, 2, 32);
  check(32, 32, 3, 1, 1, 5, 17);
  // oneDNN 2.6.3 has a kernel for AVX-512 that cannot be made for this with some activations.
  for (const ActivationSpec& activation : kActivations)
    check_convolution(
        backend, Shape{8, 3, 7},
        {.out_channels = 16, .kernel_height = 1, .kernel_width = 3, .padding_width = 1, .groups = 2, .bias = false},
        activation, 1);
  // Short rows and many channels, or large kernels: weight gradients are products over patches.
  check(128, 48, 3, 1, 1, 3, 7);
  check(130, 33, 3, 2, 1, 2, 13);
  check(256, 16, 1, 1, 1, 2, 5);
  check_convolution(backend, Shape{20, 12, 11},
                    {.out_channels = 50, .kernel_height = 5, .kernel_width = 5, .bias = false}, kActivations.front(),
                    4);
  check_convolution(backend, Shape{7, 6, 8},
                    {.out_channels = 6,
                     .kernel_height = 4,
                     .kernel_width = 6,
                     .stride_height = 2,
                     .stride_width = 1,
                     .padding_height = 3,
                     .padding_width = 2},
                    {}, 2);
  // A kernel that is padded by more than itself has no flipped one.
  check_convolution(backend, Shape{16, 5, 4},
                    {.out_channels = 8, .kernel_height = 1, .kernel_width = 3, .padding_height = 1, .padding_width = 1},
                    {}, 2);
}

TEST_CASE("in bfloat16 maxima are the references' for any channels and windows") {
  if (!has_bf16()) return;
  Backend backend = cpu(ElementType::bfloat16);
  for (const std::int64_t channels : {31, 32, 50, 64, 70}) {
    for (const auto& [height, width] : {std::pair<std::int64_t, std::int64_t>{2, 2}, {3, 3}, {1, 4}, {3, 2}, {7, 10}})
      check_pool(backend, Shape{channels, 7, 10},
                 {.kind = PoolKind::max,
                  .kernel_height = height,
                  .kernel_width = width,
                  .stride_height = height,
                  .stride_width = width},
                 3);
  }
}

TEST_CASE("in bfloat16 products are the references' at any size") {
  if (!has_bf16()) return;
  Backend backend = cpu(ElementType::bfloat16);
  for (const std::int64_t in : {1, 16, 31, 100, 784}) {
    for (const std::int64_t out : {1, 10, 16, 65}) {
      for (const std::int64_t batch : {2, 7, 32, 129})
        check_linear(backend, Shape{in}, {.out_features = out}, {}, batch);
    }
  }
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

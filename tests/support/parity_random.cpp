// Random shapes on which tables of kernels are compared with the references.
#include <rapidcheck.h>

#include "support/parity.h"

namespace dptrain::testing {

bool check_random_shapes(Backend& backend) {
  return rc::check([&] {
    const auto below = [](std::int64_t least, std::int64_t most) {
      return *rc::gen::inRange<std::int64_t>(least, most + 1);
    };
    const std::int64_t batch = below(1, 5);
    const std::int64_t groups = *rc::gen::elementOf(std::vector<std::int64_t>{1, 1, 1, 2, 3});
    const Shape image{groups * below(1, 12), below(3, 9), below(3, 9)};
    Conv2dSpec spec{.out_channels = groups * below(1, 12), .kernel_height = below(1, 3), .kernel_width = below(1, 3)};
    spec.stride_height = below(1, 3), spec.stride_width = below(1, 3);
    spec.padding_height = below(0, spec.kernel_height - 1), spec.padding_width = below(0, spec.kernel_width - 1);
    spec.groups = groups, spec.bias = *rc::gen::arbitrary<bool>();
    const std::optional<ActivationSpec> activation =
        *rc::gen::arbitrary<bool>() ? std::optional(*rc::gen::elementOf(kActivations)) : std::nullopt;
    check_convolution(backend, image, spec, activation, batch);

    Pool2dSpec pool{.kind = *rc::gen::arbitrary<bool>() ? PoolKind::max : PoolKind::average,
                    .kernel_height = below(1, 3),
                    .kernel_width = below(1, 3)};
    pool.stride_height = below(1, 4), pool.stride_width = below(1, 4);
    pool.padding_height = below(0, pool.kernel_height / 2), pool.padding_width = below(0, pool.kernel_width / 2);
    check_pool(backend, image, pool, batch);

    const Shape features{below(1, 70)};
    check_linear(backend, *rc::gen::arbitrary<bool>() ? features : image,
                 {.out_features = below(1, 40), .bias = *rc::gen::arbitrary<bool>()}, activation, batch);
    check_activation(backend, image, *rc::gen::elementOf(kActivations), batch);
    check_softmax(backend, features, batch);
    check_dropout(backend, image, 0.4, batch);
    const bool relu = *rc::gen::arbitrary<bool>(), affine = *rc::gen::arbitrary<bool>();
    check_norm(backend, image, {.kind = NormKind::batch, .affine = affine}, relu, batch);
    check_norm(backend, image, {.kind = NormKind::group, .groups = groups, .affine = affine}, relu, batch);
    check_norm(backend, Shape{below(2, 70)}, {.kind = NormKind::layer, .affine = affine}, relu, batch);
    const std::int64_t stride = below(1, 3);
    check_add(backend, Shape{image[0] + below(0, 20), (image[1] - 1) / stride + 1, (image[2] - 1) / stride + 1}, image,
              stride, relu, batch);
    check_losses(backend, features[0], below(1, 100));
  });
}

}  // namespace dptrain::testing

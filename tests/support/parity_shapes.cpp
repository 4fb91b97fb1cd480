// The shapes on which tables of kernels are compared with the references.
#include "support/parity.h"

namespace dptrain::testing {

namespace {

Conv2dSpec conv(std::int64_t out, std::int64_t kernel, std::int64_t stride = 1, std::int64_t padding = 0,
                std::int64_t groups = 1, bool bias = true) {
  return {.out_channels = out,
          .kernel_height = kernel,
          .kernel_width = kernel,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding,
          .groups = groups,
          .bias = bias};
}

void check_norms_and_sums(Backend& backend) {
  for (const bool relu : {false, true}) {
    for (const NormKind kind : {NormKind::batch, NormKind::group}) {
      const auto norm = [&](const Shape& shape, std::int64_t groups, std::int64_t batch, bool affine = true) {
        check_norm(backend, shape, {.kind = kind, .groups = kind == NormKind::batch ? 1 : groups, .affine = affine},
                   relu, batch);
      };
      norm(Shape{16, 6, 7}, 4, 3);
      norm(Shape{20, 5, 5}, 5, 2);  // blocks that channels do not fill
      norm(Shape{50, 3, 2}, 1, 4);
      norm(Shape{3, 20, 30}, 3, 2, false);  // many pixels: several levels of sums
      norm(Shape{1, 4, 4}, 1, 1);
      norm(Shape{24, 1, 1}, 3, 5);
      norm(Shape{37}, 1, 6);
      norm(Shape{64}, 8, 70, false);
    }
    for (const std::int64_t features : {2, 37, 130, 5000})
      check_norm(backend, Shape{features}, {.kind = NormKind::layer, .affine = features != 37}, relu, 3);
    check_add(backend, Shape{16, 5, 4}, Shape{16, 5, 4}, 1, relu, 3);
    check_add(backend, Shape{5, 3, 3}, Shape{5, 3, 3}, 1, relu, 2);
    check_add(backend, Shape{20, 3, 4}, Shape{7, 5, 8}, 2, relu, 2);
    check_add(backend, Shape{32, 4, 4}, Shape{16, 8, 8}, 2, relu, 2);
    check_add(backend, Shape{7, 2, 2}, Shape{3, 2, 2}, 1, relu, 1);
    check_add(backend, Shape{33}, Shape{33}, 1, relu, 3);
    check_add(backend, Shape{33}, Shape{20}, 1, relu, 3);
  }
}

}  // namespace

void check_chosen_shapes(Backend& backend) {
  const auto relu = kActivations.front();
  check_linear(backend, Shape{784}, {.out_features = 32}, relu, 16);
  check_linear(backend, Shape{7}, {.out_features = 1}, {}, 1);
  check_linear(backend, Shape{13}, {.out_features = 10, .bias = false}, {}, 70);
  check_linear(backend, Shape{5, 3, 4}, {.out_features = 11}, {}, 3);
  for (const ActivationSpec& activation : kActivations)
    check_linear(backend, Shape{20, 2, 2}, {.out_features = 9, .bias = activation.kind != ActivationKind::tanh},
                 activation, 5);

  check_convolution(backend, Shape{1, 12, 12}, conv(8, 3), relu, 4);
  check_convolution(backend, Shape{3, 9, 11}, conv(5, 3, 1, 1), {}, 3);
  check_convolution(backend, Shape{16, 8, 8}, conv(20, 5, 2, 2), {}, 2);
  check_convolution(backend, Shape{7, 6, 5}, conv(16, 1), {}, 2);
  check_convolution(backend, Shape{8, 7, 7}, conv(8, 3, 1, 1, 8), {}, 2);
  check_convolution(backend, Shape{12, 7, 7}, conv(8, 3, 2, 0, 4, false), {}, 3);
  check_convolution(backend, Shape{4, 6, 9},
                    {.out_channels = 6,
                     .kernel_height = 2,
                     .kernel_width = 5,
                     .stride_height = 2,
                     .stride_width = 1,
                     .padding_height = 1,
                     .padding_width = 3},
                    {}, 2);
  check_convolution(backend, Shape{3, 5, 5}, conv(4, 5), {}, 1);
  for (const ActivationSpec& activation : kActivations)
    check_convolution(backend, Shape{5, 6, 6}, conv(7, 3, 1, 1), activation, 2);

  for (const PoolKind kind : {PoolKind::max, PoolKind::average}) {
    for (const std::int64_t channels : {1, 3, 16, 20}) {
      const auto pool = [&](std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
        check_pool(backend, Shape{channels, 7, 10},
                   {.kind = kind,
                    .kernel_height = kernel,
                    .kernel_width = kernel,
                    .stride_height = stride,
                    .stride_width = stride,
                    .padding_height = padding,
                    .padding_width = padding},
                   3);
      };
      pool(2, 2, 0);
      pool(3, 2, 1);  // overlapping, padded
      pool(3, 1, 0);
      pool(2, 3, 0);  // with gaps
      pool(5, 1, 2);
    }
    check_pool(backend, Shape{2, 1, 1}, {.kind = kind}, 1);
  }

  for (const ActivationSpec& activation : kActivations) {
    check_activation(backend, Shape{37}, activation, 3);
    check_activation(backend, Shape{5, 3, 4}, activation, 2);
  }
  for (const Shape& shape : {Shape{1}, Shape{10}, Shape{130}, Shape{5, 3, 4}, Shape{1, 2, 2}})
    check_softmax(backend, shape, 3);
  for (const Shape& shape : {Shape{1, 3, 4}, Shape{5, 3, 4}, Shape{32, 7, 7}}) check_reorder(backend, shape, 3);
  for (const double probability : {0.0, 0.3, 0.5, 0.999}) {
    check_dropout(backend, Shape{77}, probability, 5);
    check_dropout(backend, Shape{5, 3, 3}, probability, 4);
  }
  check_norms_and_sums(backend);
  check_losses(backend, 10, 1);
  check_losses(backend, 10, 64);
  check_losses(backend, 3, 257);
  check_losses(backend, 1000, 5);
  check_losses(backend, 2, 40'000);  // more than a GPU sums in one piece
  check_nan_shows(backend);
  check_views(backend, Shape{3, 5, 4}, 2);
  check_views(backend, Shape{1, 2, 2}, 1);
}

}  // namespace dptrain::testing

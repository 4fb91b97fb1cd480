// Convolutions on a GPU against loops in double precision: kernels, strides, padding, groups, layouts, bias,
// activations, and short batches.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/cuda/device_floats.h"
#include "support/compare.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-4;

struct Geometry {
  std::int64_t channels, height, width, outs, out_height, out_width;
};

Geometry geometry_of(const ConvolutionConfig& config) {
  const Conv2dSpec& s = config.spec;
  const Shape& in = config.input.shape;
  return {in[0],
          in[1],
          in[2],
          s.out_channels,
          (in[1] + 2 * s.padding_height - s.kernel_height) / s.stride_height + 1,
          (in[2] + 2 * s.padding_width - s.kernel_width) / s.stride_width + 1};
}

/// x as it lies in memory by the input's layout, y and dy with channels last, weights canonical (OIHW).
AffineRun expected(const ConvolutionConfig& config, std::int64_t batch, const Floats& x, const Floats& weight,
                   const Floats& bias, const Floats& dy) {
  const Conv2dSpec& s = config.spec;
  const Geometry g = geometry_of(config);
  const bool plain = config.input.plain();
  const std::int64_t ins = g.channels / s.groups, group_outs = g.outs / s.groups;
  const auto x_place = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
    return static_cast<std::size_t>(plain ? ((n * g.channels + c) * g.height + h) * g.width + w
                                          : ((n * g.height + h) * g.width + w) * g.channels + c);
  };
  std::vector<double> y(static_cast<std::size_t>(batch * g.out_height * g.out_width * g.outs)), dw(weight.size()),
      db(bias.size()), dx(x.size());
  for (std::int64_t n = 0; n < batch; ++n) {
    for (std::int64_t p = 0; p < g.out_height; ++p) {
      for (std::int64_t q = 0; q < g.out_width; ++q) {
        for (std::int64_t k = 0; k < g.outs; ++k) {
          const auto place = static_cast<std::size_t>(((n * g.out_height + p) * g.out_width + q) * g.outs + k);
          double sum = bias.empty() ? 0 : double{bias[static_cast<std::size_t>(k)]};
          if (!bias.empty()) db[static_cast<std::size_t>(k)] += dy[place];
          for (std::int64_t c = 0; c < ins; ++c) {
            for (std::int64_t r = 0; r < s.kernel_height; ++r) {
              for (std::int64_t t = 0; t < s.kernel_width; ++t) {
                const std::int64_t h = p * s.stride_height - s.padding_height + r,
                                   w = q * s.stride_width - s.padding_width + t;
                if (h < 0 || w < 0 || h >= g.height || w >= g.width) continue;
                const std::size_t xp = x_place(n, k / group_outs * ins + c, h, w);
                const auto wp = static_cast<std::size_t>(((k * ins + c) * s.kernel_height + r) * s.kernel_width + t);
                sum += double{x[xp]} * weight[wp];
                dw[wp] += double{dy[place]} * x[xp];
                dx[xp] += double{dy[place]} * weight[wp];
              }
            }
          }
          if (config.activation && config.activation->kind == ActivationKind::relu) sum = std::max(sum, 0.0);
          if (config.activation && config.activation->kind == ActivationKind::sigmoid) sum = 1 / (1 + std::exp(-sum));
          y[place] = sum;
        }
      }
    }
  }
  AffineRun run;
  run.y.assign(y.begin(), y.end());
  run.weight_gradient.assign(dw.begin(), dw.end());
  run.bias_gradient.assign(db.begin(), db.end());
  run.dx.assign(dx.begin(), dx.end());
  return run;
}

void check_config(const ConvolutionConfig& config, const std::vector<std::int64_t>& batches) {
  const Geometry g = geometry_of(config);
  Gpu gpu;
  const std::unique_ptr<AffineOperation> operation = cuda::make_convolution(gpu.context, config);
  const Layout channels_last{Layout::Order::channels_last, 1};
  CHECK(operation->output() == TensorDesc(Shape{g.outs, g.out_height, g.out_width}, channels_last));
  for (const std::int64_t batch : batches) operation->prepare(batch);
  const Conv2dSpec& s = config.spec;
  const Floats weight = random_floats(g.outs * g.channels / s.groups * s.kernel_height * s.kernel_width, 1);
  const Floats bias = random_floats(s.bias ? g.outs : 0, 2);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    CAPTURE(batches[i]);
    const Floats x = random_floats(batches[i] * config.input.size(), 3),
                 dy = random_floats(batches[i] * operation->output().size(), 4);
    const AffineRun want = expected(config, batches[i], x, weight, bias, dy);
    const AffineRun got =
        run_affine(gpu, *operation, static_cast<Slot>(i), batches[i], x, weight, bias, dy, config.input_gradient);
    CHECK(difference(got.y, want.y) < kTolerance);
    CHECK(difference(got.weight_gradient, want.weight_gradient) < kTolerance);
    CHECK(difference(got.bias_gradient, want.bias_gradient) < kTolerance);
    if (config.input_gradient) CHECK(difference(got.dx, want.dx) < kTolerance);
  }
}

ConvolutionConfig config_of(const Shape& input, std::int64_t outs, std::int64_t kernel, bool plain = false) {
  ConvolutionConfig config;
  config.input = plain ? TensorDesc(input) : TensorDesc(input, Layout{Layout::Order::channels_last, 1});
  config.spec.out_channels = outs;
  config.spec.kernel_height = config.spec.kernel_width = kernel;
  return config;
}

}  // namespace

TEST_CASE("a convolution, forward and backward, in full and short batches") {
  check_config(config_of(Shape{8, 7, 7}, 5, 3), {6, 2, 1});
  check_config(config_of(Shape{3, 5, 6}, 4, 1), {4, 3});
}

TEST_CASE("strides, padding and oblong kernels, also where the last pixels are not reached") {
  ConvolutionConfig config = config_of(Shape{4, 8, 9}, 6, 3);
  config.spec.kernel_width = 5;
  config.spec.stride_height = 2, config.spec.stride_width = 3;
  config.spec.padding_height = 1, config.spec.padding_width = 2;
  check_config(config, {3, 1});
}

TEST_CASE("groups, up to one a channel") {
  ConvolutionConfig config = config_of(Shape{6, 5, 5}, 12, 3);
  for (const std::int64_t groups : {2, 3, 6}) {
    config.spec.groups = groups;
    config.spec.padding_height = config.spec.padding_width = 1;
    check_config(config, {2});
  }
}

TEST_CASE("a first layer takes plain images, of one channel and of several") {
  ConvolutionConfig first = config_of(Shape{1, 9, 9}, 4, 3, /*plain=*/true);
  first.input_gradient = false;
  check_config(first, {5, 2});
  check_config(config_of(Shape{3, 6, 5}, 4, 3, /*plain=*/true), {4, 1});
}

TEST_CASE("bias and activations that cuDNN fuses or not") {
  for (const bool bias : {true, false}) {
    for (const auto kind : {ActivationKind::relu, ActivationKind::sigmoid}) {
      ConvolutionConfig config = config_of(Shape{4, 6, 6}, 5, 3);
      config.spec.bias = bias;
      config.activation = ActivationSpec{kind};
      check_config(config, {3});
    }
  }
}

// Linear layers on a GPU against loops in double precision: all shapes, with and without bias and activation, short
// batches, and images whose channels come last.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels/cuda/device_floats.h"
#include "support/compare.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-4;

/// y = activation(W x + b) over features in the order of their places, and the gradients of sum(y dy) behind the
/// activation.
AffineRun expected(const LinearConfig& config, std::int64_t batch, const Floats& x, const Floats& weight,
                   const Floats& bias, const Floats& dy) {
  const std::int64_t in = config.input.size(), out = config.out_features;
  const std::vector<std::int32_t> element = config.input.logical_elements();
  AffineRun run;
  run.y.resize(static_cast<std::size_t>(batch * out));
  run.weight_gradient.resize(static_cast<std::size_t>(in * out));
  run.dx.resize(static_cast<std::size_t>(batch * in));
  std::vector<double> dw(run.weight_gradient.size()), db(bias.size()), dx(run.dx.size());
  for (std::int64_t s = 0; s < batch; ++s) {
    for (std::int64_t n = 0; n < out; ++n) {
      double sum = bias.empty() ? 0 : double{bias[static_cast<std::size_t>(n)]};
      const double g = dy[static_cast<std::size_t>(s * out + n)];
      if (!bias.empty()) db[static_cast<std::size_t>(n)] += g;
      for (std::int64_t place = 0; place < in; ++place) {
        const auto k = static_cast<std::size_t>(n * in + element[static_cast<std::size_t>(place)]);
        const auto p = static_cast<std::size_t>(s * in + place);
        sum += double{x[p]} * weight[k];
        dw[k] += g * x[p];
        dx[p] += g * weight[k];
      }
      if (config.activation && config.activation->kind == ActivationKind::relu) sum = std::max(sum, 0.0);
      if (config.activation && config.activation->kind == ActivationKind::tanh) sum = std::tanh(sum);
      run.y[static_cast<std::size_t>(s * out + n)] = static_cast<float>(sum);
    }
  }
  run.weight_gradient.assign(dw.begin(), dw.end());
  run.bias_gradient.assign(db.begin(), db.end());
  run.dx.assign(dx.begin(), dx.end());
  return run;
}

void check_config(const LinearConfig& config, const std::vector<std::int64_t>& batches) {
  CAPTURE(config.input.size());
  CAPTURE(config.out_features);
  Gpu gpu;
  const std::unique_ptr<AffineOperation> operation = cuda::make_linear(gpu.context, config);
  CHECK(operation->output() == TensorDesc(Shape{config.out_features}));
  for (const std::int64_t batch : batches) operation->prepare(batch);
  const std::int64_t in = config.input.size();
  const Floats weight = random_floats(in * config.out_features, 1);
  const Floats bias = random_floats(config.bias ? config.out_features : 0, 2);
  for (std::size_t i = 0; i < batches.size(); ++i) {
    CAPTURE(batches[i]);
    const Floats x = random_floats(batches[i] * in, 3), dy = random_floats(batches[i] * config.out_features, 4);
    const AffineRun want = expected(config, batches[i], x, weight, bias, dy);
    const AffineRun got =
        run_affine(gpu, *operation, static_cast<Slot>(i), batches[i], x, weight, bias, dy, config.input_gradient);
    CHECK(difference(got.y, want.y) < kTolerance);
    CHECK(difference(got.weight_gradient, want.weight_gradient) < kTolerance);
    CHECK(difference(got.bias_gradient, want.bias_gradient) < kTolerance);
    if (config.input_gradient) CHECK(difference(got.dx, want.dx) < kTolerance);
  }
}

LinearConfig config_of(std::int64_t in, std::int64_t out) {
  LinearConfig config;
  config.input = TensorDesc(Shape{in});
  config.out_features = out;
  return config;
}

}  // namespace

TEST_CASE("a linear layer, forward and backward, in full and short batches") {
  for (const auto& [in, out] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {7, 3}, {64, 10}, {33, 65}, {128, 1}})
    check_config(config_of(in, out), {32, 5, 1});
}

TEST_CASE("a linear layer with and without bias, and with activations that cuBLASLt fuses or not") {
  const ActivationSpec relu{ActivationKind::relu}, tanh{ActivationKind::tanh};
  for (const bool bias : {true, false}) {
    for (const auto& activation : std::vector<std::optional<ActivationSpec>>{{}, relu, tanh}) {
      LinearConfig config = config_of(24, 17);
      config.bias = bias;
      config.activation = activation;
      config.input_gradient = bias;
      check_config(config, {9, 4});
    }
  }
}

TEST_CASE("a linear layer behind an image whose channels come last") {
  LinearConfig config;
  config.input = TensorDesc(Shape{3, 4, 5}, Layout{Layout::Order::channels_last, 1}).flattened();
  config.out_features = 6;
  check_config(config, {8, 3});
}

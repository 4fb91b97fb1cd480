// Dynamic loss scaling: its rule, and the end of a step on a GPU whose gradients were scaled.
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/update.h"
#include "kernels/loss_sum.h"
#include "support/gpu.h"
#include "support/gradient_check.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr std::int64_t kCount = 3000, kStatistics = 984;  // the last so many are not trained
constexpr std::int64_t kChunks = (kCount + cuda::kNormChunk - 1) / cuda::kNormChunk;

/// One step over these gradient sums: parameters, momentum, average, and what became of the scale.
struct Stepped {
  std::vector<float> parameters, momentum, average;
  LossScale scale;
};

Stepped step(const std::vector<float>& gradients, const LossScaleRule* rule, const LossScale& before, double max_norm) {
  const cuda::Stream stream;
  Draws draws(3);
  const Buffer parameters = on_device(stream, draws.vector(kCount)), momentum = on_device(stream, draws.vector(kCount)),
               average = on_device(stream, draws.vector(kCount)), sums = on_device(stream, gradients),
               mean = on_device(stream, gradients), squares = on_device(stream, std::vector<double>(kChunks)),
               factor = on_device(stream, std::vector<float>(1)), scale = on_device(stream, std::vector{before});
  const Buffer blocks = on_device(
      stream,
      cuda::update_blocks({{0, kCount - kStatistics}, {kCount - kStatistics, kStatistics, Treatment::statistic, 0.5f}},
                          kCount));
  const MomentumRule sgd{.lr = 0.1f, .weight_decay = 0.01f, .buffer_decay = 0.9f};
  const Buffer step =
      on_device(stream, std::vector{cuda::step_constants(0, {sgd, {.kept = 0.75f, .share = 0.25f}}, 7)});
  const auto* constants = static_cast<const cuda::StepConstants*>(step.data());
  LossScale* state = rule == nullptr ? nullptr : static_cast<LossScale*>(scale.data());
  const auto* table = static_cast<cuda::Blocks>(blocks.data());
  cuda::SumOrder order;
  order.leaves[0] = sums.floats();
  order.length = 1;
  auto* of_chunks = static_cast<double*>(squares.data());
  cuda::mean_and_squares(order, constants, kCount, mean.floats(), of_chunks, stream.get(), table, state);
  if (rule == nullptr)
    cuda::norm_to_clip_factor(of_chunks, kChunks, max_norm, factor.floats(), stream.get());
  else
    cuda::decide_step(of_chunks, kChunks, max_norm, *rule, factor.floats(), state, stream.get());
  cuda::apply_update(cuda::RuleKind::momentum, constants, factor.floats(), kCount, mean.floats(),
                     {.parameters = parameters.floats(),
                      .state0 = momentum.floats(),
                      .state1 = nullptr,
                      .blocks = table,
                      .scale = state},
                     stream.get());
  cuda::follow(constants, kCount, average.floats(), parameters.floats(), state, stream.get());
  return {read<float>(stream, parameters), read<float>(stream, momentum), read<float>(stream, average),
          read<LossScale>(stream, scale).front()};
}

}  // namespace

TEST_CASE("the scale is halved where a step is not finite, and doubled after enough good ones") {
  const LossScaleRule rule{.growth_interval = 3, .least = 2, .divisor = 32};
  LossScale state = rule.at(8, 0, 5);
  CHECK(state.factor == 0.25f);
  CHECK(state.applies);
  rule.step(state, true);
  rule.step(state, true);
  CHECK(state.scale == 8);
  CHECK(state.good_steps == 2);
  rule.step(state, true);
  CHECK(state.scale == 16);
  CHECK(state.factor == 0.5f);
  CHECK(state.good_steps == 0);
  rule.step(state, true);
  rule.step(state, false);
  CHECK(state.scale == 8);
  CHECK(state.good_steps == 0);
  CHECK(state.skipped_steps == 6);
  CHECK_FALSE(state.applies);
  rule.step(state, true);
  CHECK(state.applies);
  rule.step(state, false);
  rule.step(state, false);
  CHECK(state.scale == 2);
  CHECK_FALSE(state.exhausted);
  rule.step(state, false);  // there is nothing below
  CHECK(state.scale == 2);
  CHECK(state.exhausted);
  rule.step(state, true);
  LossScale large = rule.at(LossScaleRule::kLargest, 2, 0);
  rule.step(large, true);
  CHECK(large.scale == LossScaleRule::kLargest);
}

TEST_CASE("a step whose gradients were scaled has the bits of one whose were not, clipped or not") {
  if (!gpu_is_there()) return;
  const LossScaleRule rule{.growth_interval = 2, .least = 1, .divisor = 16};
  const LossScale before = rule.at(1024, 1, 4);
  Draws draws(1);
  const std::vector<float> gradients = draws.vector(kCount);
  std::vector<float> scaled = gradients;
  for (std::int64_t i = 0; i < kCount - kStatistics; ++i) scaled[static_cast<std::size_t>(i)] *= before.factor;
  for (const double max_norm : {0.5, 1e6, HUGE_VAL}) {
    const Stepped wanted = step(gradients, nullptr, {}, std::min(max_norm, 1e30));
    const Stepped got = step(scaled, &rule, before, max_norm);
    CHECK(got.parameters == wanted.parameters);
    CHECK(got.momentum == wanted.momentum);
    CHECK(got.average == wanted.average);
    CHECK(got.scale.applies);
    CHECK(got.scale.scale == 2048);  // the second good step
    CHECK(got.scale.skipped_steps == 4);
  }
}

TEST_CASE("a step with one gradient that is not finite changes nothing but the scale") {
  if (!gpu_is_there()) return;
  const LossScaleRule rule{.growth_interval = 2, .least = 1, .divisor = 16};
  const LossScale before = rule.at(1024, 1, 4);
  Draws draws(1);
  const std::vector<float> gradients = draws.vector(kCount);
  Draws same(3);
  const std::vector<float> parameters = same.vector(kCount), momentum = same.vector(kCount),
                           average = same.vector(kCount);
  for (const float bad : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::size_t where : {std::size_t{0}, std::size_t{1500}, std::size_t(kCount - kStatistics - 1)}) {
      std::vector<float> spoilt = gradients;
      spoilt[where] = bad;
      for (const double max_norm : {0.5, HUGE_VAL}) {
        const Stepped got = step(spoilt, &rule, before, max_norm);
        CHECK(got.parameters == parameters);
        CHECK(got.momentum == momentum);
        CHECK(got.average == average);
        CHECK_FALSE(got.scale.applies);
        CHECK(got.scale.scale == 512);
        CHECK(got.scale.good_steps == 0);
        CHECK(got.scale.skipped_steps == 5);
      }
    }
  }
  // The largest floats that there are do not overflow the norm.
  std::vector<float> large(kCount, std::numeric_limits<float>::max());
  CHECK(step(large, &rule, rule.at(16, 0, 0), 1.0).scale.applies);
}

TEST_CASE("losses multiply their gradients by the factor, to the bit, and stay as they are") {
  if (!gpu_is_there()) return;
  constexpr std::int64_t kSamples = 9, kClasses = 5;
  const cuda::Stream stream;
  const LossScaleRule rule{.growth_interval = 2, .least = 1, .divisor = 8};
  const Buffer scale = on_device(stream, std::vector{rule.at(4096, 0, 0)});
  Draws draws(5);
  const Buffer outputs = on_device(stream, draws.vector(kSamples * kClasses)),
               labels = on_device(stream, std::vector<std::int32_t>{0, 1, 2, 3, 4, 0, 1, 2, 3}),
               gradient = on_device(stream, std::vector<float>(kSamples * kClasses)),
               sum = on_device(stream, std::vector<LossSum>(1));
  const auto run = [&](const LossScale* with, float smoothing) {
    const auto kernels = make_cuda_kernels({.device = 0, .stream = stream.get(), .loss_scale = with});
    const auto* label = static_cast<const std::int32_t*>(labels.data());
    auto* total = static_cast<LossSum*>(sum.data());
    if (smoothing < 0)
      kernels->mean_squared_error(outputs.floats(), label, kSamples, kClasses, gradient.floats(), total);
    else
      kernels->cross_entropy(outputs.floats(), label, kSamples, kClasses, smoothing, gradient.floats(), total);
    return std::pair(read<float>(stream, gradient), read<LossSum>(stream, sum).front().loss);
  };
  for (const float smoothing : {-1.0f, 0.0f, 0.1f}) {
    auto plain = run(nullptr, smoothing);
    for (float& value : plain.first) value *= 512;
    CHECK(run(static_cast<const LossScale*>(scale.data()), smoothing) == plain);
  }
}

#include "train/loss_scaling.h"

#include <bit>

namespace dptrain {

std::optional<LossScaling> loss_scaling(const JobSpec& job, const RunState* resumed) {
  if (job.train.precision != Precision::fp16) return {};
  const LossScaleSpec& spec = job.train.loss_scale;
  LossScaling scaling;
  scaling.rule.growth_interval = spec.growth_interval;
  scaling.rule.least = static_cast<float>(spec.min_scale);
  scaling.rule.divisor = static_cast<float>(std::bit_ceil(static_cast<std::uint64_t>(job.train.global_batch_size)));
  LossScaleState state{.scale = spec.init_scale, .good_steps = 0, .skipped_steps = 0};
  if (resumed != nullptr && resumed->loss_scale) state = *resumed->loss_scale;
  scaling.start = scaling.rule.at(static_cast<float>(state.scale), state.good_steps, state.skipped_steps);
  return scaling;
}

LossScaleState state_of(const LossScale& scale) {
  return {.scale = double{scale.scale}, .good_steps = scale.good_steps, .skipped_steps = scale.skipped_steps};
}

LossScaleReport report_of(const LossScale& scale) {
  return {.scale = double{scale.scale}, .skipped_steps = scale.skipped_steps};
}

}  // namespace dptrain

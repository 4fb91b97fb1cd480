#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/error.h"

namespace dptrain {
namespace {

/// Half a cosine from `from` at 0 to `to` at 1.
double half_cosine(double from, double to, double at) {
  return to + (from - to) * (1 + std::cos(std::numbers::pi * at)) / 2;
}

}  // namespace

Schedule::Schedule(const ScheduleSpec& spec, double base_lr, std::int64_t total_steps, std::int64_t steps_per_epoch,
                   double scale)
    : spec_(spec), base_lr_(base_lr), total_steps_(total_steps), steps_per_epoch_(steps_per_epoch), scale_(scale) {
  DPTRAIN_CHECK(total_steps >= 1 && steps_per_epoch >= 1, "a schedule over {} steps, {} an epoch", total_steps,
                steps_per_epoch);
}

double Schedule::lr(std::int64_t step) const {
  const double value = scale_ * std::visit([&](const auto& named) { return shape(named, step); }, spec_.shape);
  if (std::holds_alternative<OneCycleSchedule>(spec_.shape) || step >= spec_.warmup_steps) return value;
  const double risen = static_cast<double>(step) / static_cast<double>(spec_.warmup_steps);
  return value * (spec_.warmup_start + (1 - spec_.warmup_start) * risen);
}

std::int64_t Schedule::in_units(std::int64_t step) const {
  return spec_.unit == ScheduleUnit::epoch ? step / steps_per_epoch_ : step;
}

double Schedule::progress(std::int64_t step) const {
  const std::int64_t length = total_steps_ - spec_.warmup_steps;
  if (step <= spec_.warmup_steps) return 0;
  if (step >= total_steps_) return 1;
  return static_cast<double>(step - spec_.warmup_steps) / static_cast<double>(length);
}

double Schedule::shape(const ConstantSchedule&, std::int64_t) const {
  return base_lr_;
}

double Schedule::shape(const StepSchedule& steps, std::int64_t step) const {
  return base_lr_ * std::pow(steps.gamma, static_cast<double>(in_units(step) / steps.step_size));
}

double Schedule::shape(const MultiStepSchedule& steps, std::int64_t step) const {
  const std::int64_t now = in_units(step);
  const auto passed = std::count_if(steps.milestones.begin(), steps.milestones.end(),
                                    [&](std::int64_t milestone) { return milestone <= now; });
  return base_lr_ * std::pow(steps.gamma, static_cast<double>(passed));
}

double Schedule::shape(const CosineSchedule& cosine, std::int64_t step) const {
  return half_cosine(base_lr_, cosine.min_lr, progress(step));
}

double Schedule::shape(const LinearSchedule& linear, std::int64_t step) const {
  return base_lr_ * (1 + (linear.end_factor - 1) * progress(step));
}

double Schedule::shape(const OneCycleSchedule& cycle, std::int64_t step) const {
  const double highest = cycle.max_lr == 0 ? base_lr_ : cycle.max_lr;
  const double first = highest / cycle.div_factor;
  const double last = first / cycle.final_div_factor;
  // As in PyTorch the peak lies at step pct_start x total - 1, a fraction of a step, and the end at the last step.
  const double peak = cycle.pct_start * static_cast<double>(total_steps_) - 1;
  const double end = static_cast<double>(total_steps_ - 1);
  const double now = std::min(static_cast<double>(step), end);
  if (now < peak) return half_cosine(first, highest, now / peak);
  if (end <= peak) return highest;
  return half_cosine(highest, last, (now - peak) / (end - peak));
}

double lr_scale(const TrainSpec& train, std::int64_t batch) {
  if (!train.lr_scaling) return 1;
  const double factor = static_cast<double>(batch) / static_cast<double>(train.lr_scaling->reference_batch_size);
  return train.lr_scaling->rule == LrScalingRule::linear ? factor : std::sqrt(factor);
}

}  // namespace dptrain

// Purpose: the learning rate of each step, a pure function of the step: nothing to save, nothing to restore.
// Thread safety: immutable.
// Invariants: steps count from 0. For a unit of epochs the shapes step and multi_step see step / steps_per_epoch.
#pragma once

#include <cstdint>

#include "spec/job_spec.h"

namespace dptrain {

/// lr(step) = warm-up factor x shape, except for one_cycle, which knows no warm-up. With w warm-up steps, base learning
/// rate b and t = max(0, step - w), T = total_steps - w:
///   warm-up     warmup_start + (1 - warmup_start) step / w before step w, then 1 (torch LinearLR; Goyal et al.,
///               "Accurate, large minibatch SGD", 2017, use it to start large batches)
///   constant    b
///   step        b gamma^floor(step / step_size)                             (torch StepLR; counts from the run's start)
///   multi_step  b gamma^(milestones at or before step)                      (torch MultiStepLR; likewise)
///   cosine      min_lr + (b - min_lr) (1 + cos(pi t / T)) / 2               (torch CosineAnnealingLR, T_max = T;
///               Loshchilov and Hutter, "SGDR", ICLR 2017, without restarts)
///   linear      b (1 + (end_factor - 1) t / T)                              (torch LinearLR from 1)
///   one_cycle   from max_lr / div_factor up to max_lr over the first pct_start of the run, then down to
///               max_lr / div_factor / final_div_factor, both along half a cosine (torch OneCycleLR, two phases, no
///               momentum cycle; Smith and Topin, "Super-convergence", 2018); max_lr 0 stands for b
/// Cosine and linear would reach their end at step T, one after the last. Later steps keep the value of the end.
class Schedule {
 public:
  /// total_steps >= 1 and steps_per_epoch >= 1.
  /// `scale` multiplies every learning rate that the spec gives, min_lr and max_lr too.
  Schedule(const ScheduleSpec& spec, double base_lr, std::int64_t total_steps, std::int64_t steps_per_epoch,
           double scale = 1);

  double lr(std::int64_t step) const;

 private:
  double shape(const ConstantSchedule& constant, std::int64_t step) const;
  double shape(const StepSchedule& steps, std::int64_t step) const;
  double shape(const MultiStepSchedule& steps, std::int64_t step) const;
  double shape(const CosineSchedule& cosine, std::int64_t step) const;
  double shape(const LinearSchedule& linear, std::int64_t step) const;
  double shape(const OneCycleSchedule& cycle, std::int64_t step) const;
  /// `step` in the unit of step sizes and milestones.
  std::int64_t in_units(std::int64_t step) const;
  /// How far `step` is between the end of the warm-up and the end of the run, 0 to 1.
  double progress(std::int64_t step) const;

  ScheduleSpec spec_;
  double base_lr_;
  std::int64_t total_steps_;
  std::int64_t steps_per_epoch_;
  double scale_;
};

/// What `lr_scaling` multiplies the learning rate with, for updates from `batch` samples each: 1 where there is none,
/// else batch / reference batch, or the root of it.
double lr_scale(const TrainSpec& train, std::int64_t batch);

}  // namespace dptrain

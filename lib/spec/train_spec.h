// Purpose: how a model is trained: for how long, with what batch, precision, optimizer and learning rate. Part of
//   JobSpec.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "spec/source_mark.h"

namespace dptrain {

/// tf32: products and convolutions on a GPU round their inputs to 10 bits of mantissa; GPUs alone. Storage is fp32.
/// bf16, fp16: products and convolutions, and the tensors between them, have 16 bits; weights in the flat buffer, their
/// gradients, statistics, losses and the optimizer are fp32.
enum class Precision { fp32, tf32, bf16, fp16 };

/// Which parameters weight decay is for: all of them, as in PyTorch, or weights alone and neither biases nor norms.
enum class DecayOn { all, weights };

struct SgdSpec {
  double lr = 0;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const SgdSpec&) const = default;
};
struct AdamSpec {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;  // true: AdamW (default weight_decay 0.01 there)
  DecayOn decay_on = DecayOn::all;
  bool operator==(const AdamSpec&) const = default;
};
struct RmspropSpec {
  double lr = 0.01;
  double alpha = 0.99;
  double epsilon = 1e-8;
  double momentum = 0;
  double weight_decay = 0;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const RmspropSpec&) const = default;
};
struct AdagradSpec {
  double lr = 0.01;
  double lr_decay = 0;
  double epsilon = 1e-10;
  double weight_decay = 0;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const AdagradSpec&) const = default;
};
/// What does not decay is not adapted either, in LARS and LAMB.
struct LarsSpec {
  double lr = 0;
  double momentum = 0.9;
  double trust_coefficient = 0.001;
  double epsilon = 1e-8;
  double weight_decay = 0;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const LarsSpec&) const = default;
};
struct LambSpec {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-6;
  double weight_decay = 0.01;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const LambSpec&) const = default;
};
/// How large Muon's steps are: as the matrix's shape has it, sqrt(max(1, rows / columns)), or as AdamW's would be,
/// 0.2 sqrt(max(rows, columns)).
enum class MuonScale { original, match_rms_adamw };
/// Weights, as matrices; biases and norms are AdamW's.
struct MuonSpec {
  double lr = 1e-3;
  double momentum = 0.95;
  bool nesterov = true;
  std::int64_t iterations = 5;  // `ns_steps`
  double epsilon = 1e-7;
  MuonScale scale = MuonScale::original;
  double adamw_lr = 1e-3;  // default: lr; schedules multiply it too
  double adamw_beta1 = 0.9, adamw_beta2 = 0.999;
  double adamw_epsilon = 1e-8;
  double weight_decay = 0.1;
  DecayOn decay_on = DecayOn::all;
  bool operator==(const MuonSpec&) const = default;
};
using OptimizerSpec = std::variant<SgdSpec, AdamSpec, RmspropSpec, AdagradSpec, LarsSpec, LambSpec, MuonSpec>;

/// What a global batch that is `factor` times the reference multiplies the learning rate with: factor (Goyal et al.,
/// 2017) or its root.
enum class LrScalingRule { linear, sqrt };
struct LrScalingSpec {
  LrScalingRule rule = LrScalingRule::linear;
  std::int64_t reference_batch_size = 0;
  bool operator==(const LrScalingSpec&) const = default;
};

/// An exponential moving average of the weights, in [0, 1).
struct EmaSpec {
  double decay = 0;
  bool operator==(const EmaSpec&) const = default;
};

/// Every schedule multiplies the optimizer's lr; the first `warmup_steps` rise linearly from warmup_start x lr.
struct ConstantSchedule {
  bool operator==(const ConstantSchedule&) const = default;
};
/// step_size in epochs or steps, see ScheduleSpec::unit
struct StepSchedule {
  std::int64_t step_size = 1;
  double gamma = 0.1;
  bool operator==(const StepSchedule&) const = default;
};
struct MultiStepSchedule {
  std::vector<std::int64_t> milestones;
  double gamma = 0.1;
  bool operator==(const MultiStepSchedule&) const = default;
};
/// Down to min_lr at the end of the run.
struct CosineSchedule {
  double min_lr = 0;
  bool operator==(const CosineSchedule&) const = default;
};
struct LinearSchedule {
  double end_factor = 0;
  bool operator==(const LinearSchedule&) const = default;
};
struct OneCycleSchedule {
  double max_lr = 0;  // the same as the optimizer's lr; has no warm-up beside its own
  double pct_start = 0.3;
  double div_factor = 25;
  double final_div_factor = 1e4;
  bool operator==(const OneCycleSchedule&) const = default;
};
enum class ScheduleUnit { step, epoch };  // of step_size and milestones
struct ScheduleSpec {
  std::variant<ConstantSchedule, StepSchedule, MultiStepSchedule, CosineSchedule, LinearSchedule, OneCycleSchedule>
      shape;
  ScheduleUnit unit = ScheduleUnit::epoch;
  std::int64_t warmup_steps = 0;
  double warmup_start = 0;  ///< factor at step 0
  bool operator==(const ScheduleSpec&) const = default;
};

/// `loss_scale:`, used where the precision is fp16: gradients of activations are multiplied by this scale, lest they be
/// too small for half. It is halved where a step's gradients are not finite, and that step is left out.
struct LossScaleSpec {
  double init_scale = 65536;            ///< of the mean over a step; a power of two, as all scales are
  std::int64_t growth_interval = 2000;  ///< steps without such an event after which it is doubled
  double min_scale = 1;                 ///< what is not finite at this scale ends the run
  bool operator==(const LossScaleSpec&) const = default;
};

/// What gradient sums travel as between GPUs.
enum class Communication { fp32, bf16 };

struct TrainSpec {
  std::optional<double> epochs;  ///< exactly one of epochs and steps is set
  std::optional<std::int64_t> steps;
  std::int64_t global_batch_size = 0;
  std::optional<std::int64_t> micro_batch_size;  ///< empty: `auto`, see micro_batch_size() in spec/job_spec.h
  Precision precision = Precision::fp32;
  SourceMark precision_at;
  LossScaleSpec loss_scale;
  Communication communication = Communication::fp32;
  SourceMark communication_at;
  OptimizerSpec optimizer;
  SourceMark optimizer_at;
  ScheduleSpec schedule;
  std::optional<LrScalingSpec> lr_scaling;
  std::optional<double> clip_norm;  ///< `clip_grad_norm`: global L2 norm
  std::optional<EmaSpec> ema;
  SourceMark ema_at;
  bool shuffle = true;
  bool operator==(const TrainSpec&) const = default;
};

}  // namespace dptrain

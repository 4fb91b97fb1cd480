// Purpose: the validated description of a run, as plain structs. Everything after the parser reads these, no string keys.
// Thread safety: immutable once read. Invariants: those that the reader checks are named at each member.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/shape.h"
#include "spec/dataset_spec.h"
#include "spec/model_spec.h"

namespace dptrain {

// ---- training ------------------------------------------------------------------------------------------------------

/// tf32: products and convolutions on a GPU round their inputs to 10 bits of mantissa; GPUs alone. Storage is fp32.
/// bf16, fp16: products and convolutions, and the tensors between them, have 16 bits; weights in the flat buffer, their gradients,
/// statistics, losses and the optimizer are fp32.
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

/// What a global batch that is `factor` times the reference multiplies the learning rate with: factor (Goyal et al., 2017) or
/// its root.
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

/// `loss_scale:`, used where the precision is fp16: gradients of activations are multiplied by this scale, lest they be too small
/// for half. It is halved where a step's gradients are not finite, and that step is left out.
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
  std::optional<std::int64_t> micro_batch_size;  ///< empty: `auto`, see micro_batch_size() in train/
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

// ---- the run -------------------------------------------------------------------------------------------------------

enum class DeviceType { cpu, cuda };
struct DevicesSpec {
  std::optional<DeviceType> type;        ///< empty: `auto`
  std::optional<std::int64_t> count;     ///< replicas; empty: every core / GPU, at most one per micro-batch
  std::int64_t threads_per_replica = 1;  ///< CPU
  bool share = false;                    ///< GPUs: several replicas may run on one, placed in turn
  SourceMark at;
  bool operator==(const DevicesSpec&) const = default;
};

enum class Mode { sync, async, local_sgd };

/// What becomes of the workers' optimizer state at an average: their mean for all, each its own, or a fresh start.
enum class WorkerState { average, keep, reset };

/// `local_sgd:`, checked whatever the mode is, and used where that is local_sgd.
struct LocalSgdSpec {
  std::int64_t workers = 4;     ///< logical ones, run by any number of replicas up to as many
  std::int64_t sync_every = 8;  ///< steps from one average to the next
  /// Takes the average on from the last one; empty: the average is the workers' mean.
  std::optional<OptimizerSpec> outer_optimizer;
  WorkerState worker_state = WorkerState::average;
  std::int64_t warmup_sync_steps = 0;  ///< the first steps of the run are synchronous
  SourceMark at;                       ///< of `workers`
  bool operator==(const LocalSgdSpec&) const = default;
};

/// What becomes of a gradient that would be more stale than the bound allows.
enum class OnStale {
  wait,   ///< it cannot come to that: replicas wait before they begin, or before they deposit
  drop,   ///< nobody waits; the gradient is discarded
  scale,  ///< as `wait`, and every gradient is weighted 1 / (1 + lag)
};
enum class StoreUpdates { locked, hogwild };
/// `async:`, checked whatever the mode is, and used where that is async.
struct AsyncSpec {
  std::optional<std::int64_t> max_staleness;  ///< versions; empty: `null`, unbounded
  OnStale on_stale = OnStale::wait;
  std::optional<std::int64_t>
      updates_per_apply;  ///< gradients a version; empty: `auto`, 1, or a whole step's where max_staleness is 0
  StoreUpdates updates = StoreUpdates::locked;
  std::optional<std::int64_t> shards;         ///< of the store; empty: `auto`, a few a replica
  bool record = false;                        ///< for `dptrain replay`
  std::optional<double> fallback_loss_above;  ///< `fallback: {to: sync, if_loss_above: X}`; empty: `none`
  SourceMark updates_per_apply_at;
  bool operator==(const AsyncSpec&) const = default;
};

/// "N steps" or "N epochs" (N may be a fraction of an epoch).
struct Interval {
  enum class Unit { steps, epochs };
  double every = 1;
  Unit unit = Unit::epochs;
  bool operator==(const Interval&) const = default;
};

struct EvaluateSpec {
  std::optional<Interval> every;  ///< empty: at the end only (`every: end`); a last evaluation always happens
  std::int64_t views = 1;         ///< of each test image; see nn/evaluation_views.h
  SourceMark views_at;
  bool operator==(const EvaluateSpec&) const = default;
};
/// Ring slots and loader threads a replica. Without a worker the replica loads a batch when it needs it; empty: `auto`,
/// workers where there are spare cores for them.
struct DataSpec {
  std::int64_t prefetch = 4;
  std::optional<std::int64_t> workers;
  std::int64_t cache_bytes = std::int64_t{2} << 30;    ///< of decoded images kept in memory, both splits together
  std::int64_t unpack_bytes = std::int64_t{64} << 30;  ///< a compressed archive that unpacks to more is refused
  bool operator==(const DataSpec&) const = default;
};
/// Empty: at the end only (`every: end`); a last checkpoint always happens. The best by test accuracy (or loss) is kept too.
struct CheckpointSpec {
  std::optional<Interval> every;
  std::int64_t keep = 3;
  bool operator==(const CheckpointSpec&) const = default;
};
struct LogSpec {
  std::optional<Interval> every;
  bool operator==(const LogSpec&) const = default;
};
/// At least, at most; `none` where not set.
struct ExpectSpec {
  std::optional<double> test_accuracy;
  std::optional<double> test_loss;
  bool operator==(const ExpectSpec&) const = default;
};

/// What a step with a loss or gradient that is not finite leads to.
enum class OnNan {
  stop,      ///< the run ends
  skip,      ///< the step's update is left out
  rollback,  ///< back to the last checkpoint, on with a lower learning rate
};
/// What a replica whose step throws leads to.
enum class OnReplicaFailure {
  stop,       ///< the run ends
  continue_,  ///< the others take its micro-batches
};
struct FaultsSpec {
  OnNan on_nan = OnNan::stop;
  double rollback_lr_factor = 0.5;  ///< of every rollback, in (0, 1]
  std::int64_t max_rollbacks = 3;   ///< of a run
  std::int64_t max_skips = 100;     ///< in a row
  OnReplicaFailure on_replica_failure = OnReplicaFailure::stop;
  std::optional<double> step_deadline;  ///< seconds that a replica may take for its part of a step; `none`: any
  SourceMark on_nan_at, on_replica_failure_at;
  bool operator==(const FaultsSpec&) const = default;
};

/// Whether micro-batches move from slow replicas to fast ones. The weights do not depend on it.
enum class Balance { off, automatic };

enum class DrillKind { throw_, stall, slow, nan };
/// Something that goes wrong on purpose, once a run; `slow` lasts from its step to the end.
struct DrillSpec {
  std::int64_t at_step = 0;  ///< counted from 0
  std::int64_t replica = 0;
  DrillKind kind = DrillKind::throw_;
  std::optional<double> seconds{};  ///< of a stall; empty: until the step deadline
  double factor = 2;                ///< of a slow replica: how many times as long its steps take
  SourceMark at{};
  bool operator==(const DrillSpec&) const = default;
};

struct JobSpec {
  std::string name;  ///< letters, digits, '-', '_', '.'; default: the file's stem
  std::uint64_t seed = 1;
  DatasetSpec dataset;
  ModelSpec model;
  TrainSpec train;
  DevicesSpec devices;
  Mode mode = Mode::sync;
  AsyncSpec async;
  LocalSgdSpec local_sgd;
  bool reproducible = true;
  EvaluateSpec evaluate;
  CheckpointSpec checkpoint;
  DataSpec data;
  LogSpec log;
  ExpectSpec expect;
  FaultsSpec faults;
  Balance balance = Balance::off;
  SourceMark balance_at;
  std::vector<DrillSpec> drills;
  std::filesystem::path file;  ///< the spec's path as given
  bool operator==(const JobSpec&) const = default;
};

/// Samples of a micro-batch at most: the job's own number, or for `auto` ceil(global / 8) where reproducible, else
/// ceil(global / replicas).
std::int64_t micro_batch_size(const JobSpec& job, std::int64_t replicas);

}  // namespace dptrain

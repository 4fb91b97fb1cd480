// Purpose: the validated description of a run, as plain structs. Everything after the parser reads these, no string keys.
// Thread safety: immutable once read. Invariants: those that the reader checks are named at each member.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "spec/model_spec.h"

namespace dptrain {

// ---- dataset -------------------------------------------------------------------------------------------------------

enum class DatasetFormat { idx, generated };

/// `dataset:` either names a descriptor (datasets/NAME.yaml) or gives a format and a path.
struct DatasetSpec {
  std::string name;                           ///< descriptor's name; empty where `format` and `path` are given instead
  std::optional<DatasetFormat> format;        ///< set where `name` is empty
  std::filesystem::path path;                 ///< folder with the files; may be empty with `name`
  std::optional<std::int64_t> train_samples;  ///< generated datasets: how many to make; others: use the first so many
  std::optional<std::int64_t> test_samples;
  std::uint64_t generator_seed = 1;  ///< generated datasets only (`dataset.seed`)
  SourceMark at;
  bool operator==(const DatasetSpec&) const = default;
};

// ---- training ------------------------------------------------------------------------------------------------------

/// tf32: products and convolutions on a GPU round their inputs to 10 bits of mantissa; GPUs alone. Storage is fp32.
enum class Precision { fp32, tf32 };

/// Which parameters weight decay is for: all of them, as in PyTorch, or weights alone and neither biases nor norms.
enum class DecayOn { all, weights };

struct SgdSpec {
  double lr = 0;
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;
  bool operator==(const SgdSpec&) const = default;
};
struct AdamSpec {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;  // true: AdamW (default weight_decay 0.01 there)
  bool operator==(const AdamSpec&) const = default;
};
using OptimizerSpec = std::variant<SgdSpec, AdamSpec>;

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

struct TrainSpec {
  std::optional<double> epochs;  ///< exactly one of epochs and steps is set
  std::optional<std::int64_t> steps;
  std::int64_t global_batch_size = 0;
  std::optional<std::int64_t> micro_batch_size;  ///< empty: `auto`, see micro_batch_size() in train/
  Precision precision = Precision::fp32;
  SourceMark precision_at;
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  std::optional<double> clip_norm;  ///< `clip_grad_norm`: global L2 norm
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

enum class Mode { sync };

/// "N steps" or "N epochs" (N may be a fraction of an epoch).
struct Interval {
  enum class Unit { steps, epochs };
  double every = 1;
  Unit unit = Unit::epochs;
  bool operator==(const Interval&) const = default;
};

/// Empty: at the end only (`every: end`); a last evaluation always happens
struct EvaluateSpec {
  std::optional<Interval> every;
  bool operator==(const EvaluateSpec&) const = default;
};
/// Ring slots and loader threads (0 or 1) a replica. Without a worker the replica loads a batch when it needs it; empty:
/// `auto`, a worker where there is a spare core for it.
struct DataSpec {
  std::int64_t prefetch = 4;
  std::optional<std::int64_t> workers;
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

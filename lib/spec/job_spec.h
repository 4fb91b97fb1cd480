// Purpose: the validated description of a run, as plain structs. Everything after the parser reads these, no string
//   keys.
// Thread safety: immutable once read. Invariants: those that the reader checks are named at each member.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "spec/async_spec.h"
#include "spec/dataset_spec.h"
#include "spec/faults_spec.h"
#include "spec/local_sgd_spec.h"
#include "spec/model_spec.h"
#include "spec/source_mark.h"
#include "spec/train_spec.h"

namespace dptrain {

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
/// Empty: at the end only (`every: end`); a last checkpoint always happens. The best by test accuracy (or loss) is kept
/// too.
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

// Purpose: what a job says of local SGD. Part of JobSpec.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <optional>

#include "spec/source_mark.h"
#include "spec/train_spec.h"

namespace dptrain {

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

}  // namespace dptrain

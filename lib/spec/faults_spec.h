// Purpose: what a job says of things that go wrong, by themselves or on purpose, and of replicas that are slow. Part of
//   JobSpec.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <optional>

#include "spec/source_mark.h"

namespace dptrain {

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

}  // namespace dptrain

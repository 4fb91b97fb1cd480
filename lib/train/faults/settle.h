// Purpose: what becomes of a step that did not go well. Thread safety: settle() is called by all replicas' threads
//   together.
#pragma once

#include "train/run.h"

namespace dptrain {

enum class Outcome {
  good,   ///< nothing is wrong after all
  again,  ///< the same step, with the run's new assignment
  skip,   ///< on with the next step, without an update
  back,   ///< on at Run::rollback_step, whose weights are loaded
};

/// After the gather of a step in which Faults::any(), the same on every thread. Errors: on rank 0 what ends the run, on
/// the others GroupAborted.
Outcome settle(Run& run, int rank, Replica& replica, const StepTask& task, const StepPlan& plan);

/// Rank 0's, while the others wait: what the job says should be done about something that is not finite. `can_skip`: it
/// is a step's, with weights that are. Outcome::back has been done on return. Errors: what ends the run.
Outcome decide(Run& run, FaultReport report, double began, bool can_skip);

/// Rank 0's, with all replicas between two steps: from `step` on micro-batches are assigned so.
void reassign(Run& run, std::int64_t step, std::shared_ptr<const Assignment> assignment, const std::string& reason);

}  // namespace dptrain

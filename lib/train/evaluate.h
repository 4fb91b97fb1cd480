// Purpose: one evaluation of the run's weights. Thread safety: called by all replicas' threads together.
#pragma once

#include "train/faults/settle.h"

namespace dptrain {

/// Every sample of the test set once, by all replicas; rank 0 adds the chunks in index order and reports. On a request
/// to stop the run ends with `step`, is saved, and the evaluation cut short after TrainOptions::evaluation_grace. It
/// ends there too where what it finds is enough (TrainOptions::enough). Returns when all have done their part:
/// Outcome::back where the loss was not finite and the run has gone back. Errors: as settle().
Outcome evaluate(Run& run, Replica& replica, int rank, std::int64_t step);

/// What is due when `step` steps are done, on the weights that the replica reads: evaluation and checkpoint. By all
/// replicas' threads together; before rank 0 returns nobody changes the weights. Outcome::back where something was not
/// finite and the run has gone back.
Outcome between_steps(Run& run, Replica& replica, int rank, std::int64_t step);

}  // namespace dptrain

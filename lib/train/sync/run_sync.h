// Purpose: `mode: sync`: all replicas take each step together, and its gradients are added in one order. Thread safety: called by
//   all replicas' threads together. Invariants: the weights do not depend on the number of replicas, nor on who runs what.
#pragma once

#include "train/run.h"

namespace dptrain {

/// Steps run.first to run.end, with the evaluations and checkpoints between them. Errors: what ends the run.
void run_sync(Run& run, int rank, Replica& replica);

}  // namespace dptrain

// Purpose: `mode: sync`: all replicas take each step together, and its gradients are added in one order. Thread safety:
//   called by all replicas' threads together. Invariants: the weights do not depend on the number of replicas, nor on
//   who runs what.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "train/update_strategy.h"

namespace dptrain {

std::unique_ptr<UpdateStrategy> make_sync_strategy();

/// Its loop: steps run.first to run.end, or up to `until` where that comes first, with the evaluations and checkpoints
/// between them. For run.reducer. Errors: what ends the run.
void run_sync(Run& run, int rank, Replica& replica, std::int64_t until = std::numeric_limits<std::int64_t>::max());

}  // namespace dptrain

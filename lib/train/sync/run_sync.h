// Purpose: `mode: sync`: all replicas take each step together, and its gradients are added in one order. Thread safety: called by
//   all replicas' threads together. Invariants: the weights do not depend on the number of replicas, nor on who runs what.
#pragma once

#include <memory>

#include "train/update_strategy.h"

namespace dptrain {

std::unique_ptr<UpdateStrategy> make_sync_strategy();

}  // namespace dptrain

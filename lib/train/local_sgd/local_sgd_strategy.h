// Purpose: `mode: local_sgd`: logical workers take local steps, each with its own slice of every step's samples, and
//   are averaged now and then (Stich, "Local SGD converges fast and communicates little", ICLR 2019), after synchronous
//   steps at first where the job asks for them (Lin et al., "Don't use large mini-batches, use local SGD", 2018).
//   Thread safety: as train/update_strategy.h. Invariants: the weights do not depend on the number of replicas.
#pragma once

#include <memory>

#include "train/update_strategy.h"

namespace dptrain {

std::unique_ptr<UpdateStrategy> make_local_sgd_strategy();

}  // namespace dptrain

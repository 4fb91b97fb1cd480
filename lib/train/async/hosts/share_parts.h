// Purpose: what the hosts of an asynchronous run tell each other at rest, each having a part of the store.
// Thread safety: one thread of each process, all together, while no replica is at work. Invariants: afterwards what is
//   said below is the same wherever it is.
#pragma once

#include "train/async/async_run.h"

namespace dptrain {

/// The weights as they are, to all hosts, which evaluate them.
void share_weights(Run& run, AsyncRun& async);
/// The optimizer's state, to the first process, which saves it.
void gather_state(Run& run, AsyncRun& async);

}  // namespace dptrain

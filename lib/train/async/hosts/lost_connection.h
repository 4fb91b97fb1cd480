// Purpose: what it means that a connection to another process has been cut: something is wrong elsewhere.
// Thread safety: any thread. Invariants: the group has an error when it throws.
#pragma once

#include "comm/connection.h"
#include "train/run.h"

namespace dptrain {

/// Who knows what is wrong will say so at once. Otherwise the cut itself is the group's failure. Throws GroupAborted.
[[noreturn]] void connection_is_lost(Run& run, int process);

/// What is said over a connection to that process. Errors: GroupAborted.
template <class Say>
auto over(Run& run, int process, const Say& say) {
  try {
    return say();
  } catch (const ConnectionLost&) {
    connection_is_lost(run, process);
  }
}

}  // namespace dptrain

// Purpose: this program once more, as a process of its own, for what must not end the one that asks for it.
// Thread safety: run_child() by one thread at a time, and while there is no other: it forks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/stop.h"

namespace dptrain {

struct ChildEnd {
  int status = 0;       ///< as a shell says it: 128 + n where signal n ended it
  std::string error{};  ///< what it said last, where the status is not 0
};

/// Runs this program with `arguments` to its end. Its standard output goes nowhere; `say` is told each line of its
/// standard error but for the error that ends it. A request to stop is passed on once, as another kind of signal than a
/// terminal or a scheduler sends to all processes of a job, because a second one of a kind would end it at once. It
/// does not outlive this process.
/// Errors: failed where the system cannot start it.
ChildEnd run_child(const std::vector<std::string>& arguments, const StopRequest& stop,
                   const std::function<void(const std::string&)>& say);

}  // namespace dptrain

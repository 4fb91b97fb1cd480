// Purpose: the one clock that durations are measured with, and the one that processes have in common. Thread safety:
//   any thread.
#pragma once

#include <chrono>

namespace dptrain {

/// Seconds of the steady clock: only differences mean something.
inline double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds since 1970: for what one process leaves to another.
inline double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace dptrain

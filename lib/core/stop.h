// Purpose: how a process is asked to end early, and how long work answers: it polls, and throws Stopped.
// Thread safety: a StopRequest may be set from a signal handler and read by any thread.
#pragma once

#include <atomic>
#include <exception>

namespace dptrain {

/// 0, or the number of the signal that asks for an end.
using StopRequest = std::atomic<int>;
static_assert(StopRequest::is_always_lock_free);

/// No Error: nothing is wrong, and whoever handles errors of a file or a server must not take it for one.
class Stopped : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped"; }
};

inline bool stop_asked(const StopRequest* stop) {
  return stop != nullptr && stop->load(std::memory_order_relaxed) != 0;
}

inline void throw_if_stopped(const StopRequest* stop) {
  if (stop_asked(stop)) throw Stopped();
}

}  // namespace dptrain

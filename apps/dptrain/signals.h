// Purpose: how signals ask a command for an orderly end. Thread safety: listen_to_signals() by one thread, before
//   others start.
#pragma once

#include <signal.h>

#include <array>

#include "core/stop.h"

namespace dptrain {

/// Takes over SIGINT, SIGTERM, SIGHUP and SIGUSR1 where they are not ignored: the first signal makes the request that
/// is returned, and a second one of the same kind has its usual effect.
const StopRequest& listen_to_signals();

/// The same for as long as it lives; then signals do again what they did before.
class Listening {
 public:
  Listening();
  ~Listening();
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  const StopRequest& stop() const;

 private:
  std::array<struct sigaction, 4> before_;
};

/// Calls `part`, which may be stopped, in a command that a signal ends at once otherwise. Errors: Stopped where one
/// came.
template <class Part>
auto stoppable(Part&& part) {
  const Listening signals;
  auto result = part(signals.stop());
  throw_if_stopped(&signals.stop());
  return result;
}

/// Another process was stopped by this signal, and this one ends as if it had been, too.
void stop_as(int signal);

/// The exit status of a process that a signal has ended: 128 + its number.
int stopped_status();

}  // namespace dptrain

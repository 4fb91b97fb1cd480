// Purpose: how signals ask a command for an orderly end. Thread safety: listen_to_signals() by one thread, before others start.
#pragma once

#include "core/stop.h"

namespace dptrain {

/// Takes over SIGINT, SIGTERM, SIGHUP and SIGUSR1 where they are not ignored: the first signal makes the request that is
/// returned, and a second one of the same kind has its usual effect.
const StopRequest& listen_to_signals();

/// Another process was stopped by this signal, and this one ends as if it had been, too.
void stop_as(int signal);

/// The exit status of a process that a signal has ended: 128 + its number.
int stopped_status();

}  // namespace dptrain

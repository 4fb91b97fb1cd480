// Purpose: `dpbench step --config C`: where a training step goes. Thread safety: one call at a time.
#pragma once

namespace dptrain {

/// Parses its own options; returns the exit status. Errors: thrown as Error.
int profile_step(int argc, char** argv);

}  // namespace dptrain

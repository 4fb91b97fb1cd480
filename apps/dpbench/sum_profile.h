// Purpose: `mpirun -np N dpbench sum`: what it takes the processes of a host to add up their gradients, beside what
//   copying as many bytes takes them. Thread safety: one call at a time.
#pragma once

namespace dptrain {

/// Parses its own options; returns the exit status. Errors: thrown as Error.
int profile_sum(int argc, char** argv);

}  // namespace dptrain

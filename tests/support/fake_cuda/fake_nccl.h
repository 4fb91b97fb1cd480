// Purpose: a double of NCCL with its signatures. Ranks may share a device, which NCCL itself refuses before 2.30, so
//   several replicas can be tested on one GPU, or on none. Two builds: on the fake CUDA runtime, where a collective
//   stalls its stream until all ranks have come, as NCCL's kernels do; and on the real one (GPU memory and streams),
//   where a call is in progress until all ranks have made theirs. Ranks in several processes meet in a folder: see
//   nccl_folder.h; they may share a device as NCCL lets them.
// Thread safety: as NCCL's: any thread for different communicators. Invariants: misuse that NCCL refuses, hangs on or
//   does not notice (other counts on another rank, a call while one is in progress) throws std::logic_error.
#pragma once

#include <nccl.h>

namespace fake_nccl {

/// From here on the communicator of `rank` in the group made last reports this error asynchronously.
void set_async_error(int rank, ncclResult_t error);
/// Communicators that were neither destroyed nor aborted.
int live_communicators();

}  // namespace fake_nccl

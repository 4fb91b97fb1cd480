// Purpose: replicas on GPUs: all on one, where they share parameters in its memory, or one on each, where NCCL connects
//   them, also those of other processes.
// Thread safety: see train/backend.h.
#pragma once

#include "comm/communicator.h"
#include "train/backend.h"

namespace dptrain {

/// Errors: Error(usage) where replicas would share several GPUs.
std::unique_ptr<Backend> make_cuda_backend(const JobSpec& job, const Placement& placement);
/// The same among other processes, over NCCL in any case; all of the arguments outlive it. Errors: Error(usage) where
/// replicas would share a GPU, and this NCCL does not let them.
std::unique_ptr<Backend> make_cuda_backend(const JobSpec& job, const Placement& placement, Communicator& processes);

/// The versions of CUDA's runtime, cuDNN, cuBLASLt and NCCL, as name and number. Errors: failed where CUDA or NCCL does
/// not say.
std::vector<std::pair<std::string, std::string>> cuda_backend_basis();

}  // namespace dptrain

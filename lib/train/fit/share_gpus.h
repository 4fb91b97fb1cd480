// Purpose: which GPUs the processes of a job take, of those that each can see. Thread safety: pure functions, and one
//   that all processes call together.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "device/accelerators.h"

namespace dptrain {

/// What a process finds on its machine.
struct SeenGpus {
  std::vector<AcceleratorInfo> usable;
  std::string missing, remedy;  ///< as in Accelerators, perhaps cut short
};

/// Of all processes, by rank. All together. Errors: GroupAborted.
std::vector<SeenGpus> gather_gpus(Communicator& processes, const Accelerators& mine);

/// By process, in the order of their numbers.
struct GpuShares {
  std::vector<std::vector<AcceleratorInfo>> taken;
  std::string problem, hint;  ///< what is in the way, and what to do; empty: nothing
};
/// Processes that see the same GPUs, as those of a host do where CUDA_VISIBLE_DEVICES does not tell them apart, share
/// them out. `may_share`: where there are fewer GPUs than processes, these are on one in turn.
GpuShares share_out_gpus(const std::vector<SeenGpus>& seen, const std::vector<Member>& members, bool may_share);

/// How many replicas each process gets of `count`, where it has room for so many: as equal as can be, the first ones
/// more, and no more than there is room for.
std::vector<int> deal_out(std::int64_t count, const std::vector<int>& room);

}  // namespace dptrain

#include "train/async/hosts/share_parts.h"

#include <cstring>
#include <vector>

namespace dptrain {

void share_weights(Run& run, AsyncRun& async) {
  std::vector<Message> sends, receives;
  const int me = run.processes.rank();
  for (const StorePlace& part : async.parts) {
    float* const weights = async.weights.data() + part.floats.first;
    const std::size_t bytes = static_cast<std::size_t>(part.floats.count()) * sizeof(float);
    for (const int host : run.processes.hosts()) {
      if (host == part.process) continue;
      if (me == part.process) sends.push_back({host, weights, bytes});
      if (me == host) receives.push_back({part.process, weights, bytes});
    }
  }
  run.processes.exchange(sends, receives);
}

void gather_state(Run& run, AsyncRun& async) {
  std::vector<Message> sends, receives;
  const int me = run.processes.rank();
  for (int k = 0; k < state_buffers(run.job.train.optimizer) && async.parts.size() > 1; ++k) {
    for (const StorePlace& part : async.parts) {
      const std::size_t bytes = static_cast<std::size_t>(part.floats.count()) * sizeof(float);
      float* const all = me == 0 ? async.states[static_cast<std::size_t>(k)].floats() + part.floats.first : nullptr;
      if (me == 0 && part.process == 0) std::memcpy(all, async.store->state(k), bytes);
      if (me == part.process && me != 0) sends.push_back({0, async.store->state(k), bytes});
      if (me == 0 && part.process != 0) receives.push_back({part.process, all, bytes});
    }
  }
  run.processes.exchange(sends, receives);
}

}  // namespace dptrain

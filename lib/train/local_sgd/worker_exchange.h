// Purpose: the workers of local SGD over the processes of a job: whose they are, and the average of all of them. Those
//   of one host lie in memory that its processes share; hosts give each process its slice of their workers, and get the
//   mean back.
// Thread safety: said at each member. Invariants: the mean's bits do not depend on where a worker is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/local/local_group.h"
#include "device/buffer.h"
#include "train/cpu/host_pairs.h"
#include "train/fit/fit.h"
#include "train/local_sgd/workers.h"

namespace dptrain {

/// The workers of replicas [first, last), of as many as there are.
Range workers_of(int workers, int replicas, Range range);
/// Those that lie in the memory of this process's host.
Range workers_here(int workers, const Placement& placement, const Communicator& processes);

class WorkerExchange {
 public:
  /// All processes together; the arguments outlive it.
  WorkerExchange(Workers& workers, LocalGroup& group, Communicator& processes, const Placement& placement);

  /// An average of all workers by all replicas together, once every worker is done with its steps and all know that.
  /// When they meet again every worker has set out from it. Errors: GroupAborted.
  void average(int rank, std::span<const std::int64_t> samples, std::int64_t averages);

  /// Where each worker keeps its own state: the first process gets those of other hosts, which its checkpoints hold. By
  /// one thread of each process. Errors: GroupAborted.
  void gather_states();
  /// State k of any worker, as of the last gather_states() where it is on another host; from and to the host's memory.
  /// What another process has, or another host, is theirs to load. By one thread, while no worker is at a step.
  void load_state(int worker, int k, const float* from);
  void save_state(int worker, int k, float* to) const;

 private:
  Range slice(int process) const;  // in chunks
  std::int64_t begin(int chunk) const;
  std::int64_t length(Range chunks) const { return begin(chunks.last) - begin(chunks.first); }
  float* mean(int which) const { return means_.floats() + which * begin(workers_.chunks()); }
  bool is_here(int worker) const { return worker >= workers_.here().first && worker < workers_.here().last; }
  void set_messages();
  void take_mean(Range chunks, std::span<const std::int64_t> samples);

  Workers& workers_;
  LocalGroup& group_;
  Communicator& processes_;
  const Placement& placement_;
  const HostPairs pairs_;
  const Range replicas_of_host_;
  std::vector<Range> of_hosts_;  // workers
  // Only where there are other hosts.
  Buffer incoming_;                  // this process's slice of their workers
  std::vector<const float*> parts_;  // by average and worker, where its slice begins
  Buffer means_;                     // shared by the host
  std::vector<Message> sends_, receives_, mean_sends_, mean_receives_;
  std::vector<std::vector<Buffer>> guests_;  // the first process's: states of the workers of other hosts
};

}  // namespace dptrain

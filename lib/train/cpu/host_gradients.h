// Purpose: the gradient buffers of all replicas of this host, in memory that its processes share: each reads the
//   others' where they were written. Thread safety: any thread. Invariants: a buffer never moves.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "comm/communicator.h"
#include "device/buffer.h"
#include "train/fit/fit.h"
#include "train/schedule.h"

namespace dptrain {

class HostGradients {
 public:
  /// All arguments outlive it.
  HostGradients(const Placement& placement, const RunSchedule& schedule, Communicator& processes);

  const Placement& placement() const { return placement_; }
  const RunSchedule& schedule() const { return schedule_; }
  Communicator& processes() const { return processes_; }
  /// The replicas of this host.
  Range host() const { return host_; }

  /// How many buffers a replica of this host has.
  int buffers(int replica) const;
  /// Buffer k of a replica of this host, of as many floats as all others; the first call of a process waits for the
  /// host's others.
  Buffer buffer(int replica, int k, std::int64_t floats);

 private:
  const Placement& placement_;
  const RunSchedule& schedule_;
  Communicator& processes_;
  Range host_;
  std::mutex mutex_;
  Buffer memory_;
};

}  // namespace dptrain

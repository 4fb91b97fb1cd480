// Purpose: where the replicas of a run lay down what they have measured on each micro-batch of a step, and meet in the
//   midst of it: norms with `sync: true` go on when they know the measurements of all, of other processes too.
// Thread safety: called by every replica's thread for its own rank, as often as by the others.
// Invariants: a micro-batch's measurement is read by all as it was written, whoever runs it; where a replica fails,
//   nobody waits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/local/local_group.h"
#include "train/faults/watchdog.h"
#include "train/fit/fit.h"
#include "train/schedule.h"

namespace dptrain {

class StepExchange {
 public:
  /// For at most so many floats of a measurement. The group and the processes outlive it. A watchdog does not count the
  /// time that a replica waits for others here as that of its part of the step.
  StepExchange(LocalGroup& group, Communicator& processes, const Placement& placement, const RunSchedule& schedule,
               std::int64_t floats, Watchdog* watchdog = nullptr);

  /// Where this replica writes the measurement of its micro-batch m before the coming meeting. Only where one follows:
  /// it goes to the other processes there.
  float* own(int rank, int m);
  /// Returns when all have written theirs; seconds waited. Errors: GroupAborted.
  double meet(int rank);
  /// The measurement of any micro-batch at the latest meeting, until this replica goes to the next.
  const float* of(int rank, int m) { return part(meetings(rank) - 1, m); }

 private:
  struct alignas(64) Member {
    unsigned meetings = 0;
  };
  unsigned meetings(int rank) const { return members_[static_cast<std::size_t>(rank)].meetings; }
  float* part(unsigned meeting, int m) { return parts_[meeting % 2].data() + static_cast<std::size_t>(m) * floats_; }
  void share(unsigned meeting);

  LocalGroup& group_;
  Communicator& processes_;
  Watchdog* watchdog_;
  std::size_t floats_;
  // In turn: who writes for the next meeting has left the one before it behind, and with it everybody what was read
  // there.
  std::vector<float> parts_[2];
  std::vector<Member> members_;  // by rank
  std::vector<char> written_;    // by micro-batch, in this process, for the coming meeting
  // What a process tells the others: the numbers of its micro-batches, -1 behind the last, and their measurements.
  std::size_t most_ = 0, block_ = 0;  // micro-batches of a process, and bytes
  std::vector<std::int32_t> numbers_;
  std::vector<std::byte> mine_, all_;
};

}  // namespace dptrain

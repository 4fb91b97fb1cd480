// Purpose: where the replicas of a run lay down what they have measured on each micro-batch of a step, and meet in the midst of it:
//   norms with `sync: true` go on when they know the measurements of all.
// Thread safety: called by every replica's thread for its own rank, as often as by the others.
// Invariants: a micro-batch's measurement is read by all as it was written, whoever runs it; where a replica fails, nobody waits.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/local/local_group.h"
#include "train/watchdog.h"

namespace dptrain {

class StepExchange {
 public:
  /// For at most so many micro-batches a step and floats of a measurement. A watchdog does not count the time that a replica
  /// waits for others here as that of its part of the step.
  StepExchange(LocalGroup& group, int micro_batches, std::int64_t floats, Watchdog* watchdog = nullptr);

  /// Where this replica writes the measurement of its micro-batch m before the coming meeting.
  float* own(int rank, int m) { return part(meetings(rank), m); }
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

  LocalGroup& group_;
  Watchdog* watchdog_;
  std::size_t floats_;
  // In turn: who writes for the next meeting has left the one before it behind, and with it everybody what was read there.
  std::vector<float> parts_[2];
  std::vector<Member> members_;  // by rank
};

}  // namespace dptrain

// Purpose: the running index of micro-batches over the steps of a run, which is what asynchronous replicas draw from.
// Thread safety: immutable.
#pragma once

#include <cstdint>

#include "train/schedule.h"

namespace dptrain {

/// Micro-batch `micro_batch` of step `step`.
struct MicroBatchPlace {
  std::int64_t step = 0;
  int micro_batch = 0;
};

class MicroBatchPlaces {
 public:
  /// `schedule` must outlive it.
  explicit MicroBatchPlaces(const RunSchedule& schedule);

  MicroBatchPlace at(std::int64_t index) const;
  /// Of the first micro-batch of `step`; also for the step after the last.
  std::int64_t first_of(std::int64_t step) const { return step / steps_ * an_epoch_ + step % steps_ * a_step_; }
  std::int64_t samples(std::int64_t index) const;

 private:
  const RunSchedule& schedule_;
  std::int64_t steps_;              // of an epoch
  std::int64_t a_step_, an_epoch_;  // micro-batches of a full step and of an epoch, whose last step may have fewer
};

}  // namespace dptrain

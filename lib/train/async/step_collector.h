// Purpose: losses and times of micro-batches that end in any order, put together to steps in order.
// Thread safety: one user at a time.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "train/async/places.h"
#include "train/progress.h"

namespace dptrain {

class StepCollector {
 public:
  struct Step {
    std::vector<LossSum> losses{};  ///< by micro-batch; 0 for those that were skipped
    int missing = 0;                ///< micro-batches that have not ended
    std::int64_t skipped = 0;       ///< samples
    double end = 0;                 ///< when the last of them did, which may have completed later steps too
  };
  /// `first` is the first step; `complete` is called for each when all of its micro-batches have ended, in order.
  StepCollector(const RunSchedule& schedule, std::int64_t first,
                std::function<void(std::int64_t step, const Step&)> complete)
      : schedule_(schedule), first_(first), complete_(std::move(complete)) {}

  /// The micro-batch has ended, `now`; without a loss it was skipped.
  void ended(const MicroBatchPlace& place, const LossSum* loss, double now);

 private:
  const RunSchedule& schedule_;
  std::int64_t first_;       // step of open_.front()
  std::deque<Step> open_{};  // steps that have begun to end
  std::function<void(std::int64_t, const Step&)> complete_;
};

}  // namespace dptrain

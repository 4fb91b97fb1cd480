// Purpose: where a run goes back to under `faults.on_nan: rollback`: copies of its state at its latest periodic
//   checkpoints, and which of them is the last good one. Thread safety: rank 0's thread. Invariants: points are in the
//   order of their steps; the first is never given up.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "device/buffer.h"

namespace dptrain {

/// Flat parameters first, then the buffers of the optimizer's state. Shared with what else reads them.
using StateCopies = std::shared_ptr<const std::vector<Buffer>>;

class RollbackPoints {
 public:
  /// Weights that are finite may still be beyond help: that shows some steps later, so older points are kept as well.
  static constexpr std::size_t kPoints = 3;

  struct Point {
    std::int64_t step = 0;
    StateCopies copies;
  };

  /// The state when `step` steps are done, later than those before.
  void push(std::int64_t step, StateCopies copies);
  /// `step` had no finite result: where to go on. It is the latest point, but not one of `step` itself, whose weights
  /// are what failed; and where the run fails again without having come further than the last time, one before.
  const Point& back(std::int64_t step);

  /// For a checkpoint: what makes the same decisions in a run that goes on from it.
  std::vector<std::int64_t> steps() const;
  std::int64_t failed_at() const { return failed_at_; }
  void set_failed_at(std::int64_t step) { failed_at_ = step; }

 private:
  void give_up_latest() {
    if (points_.size() > 1) points_.pop_back();
  }
  std::deque<Point> points_;
  std::int64_t failed_at_ = -1;  // -1: never
};

}  // namespace dptrain

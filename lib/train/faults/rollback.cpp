#include "train/faults/rollback.h"

#include "core/error.h"

namespace dptrain {

void RollbackPoints::push(std::int64_t step, StateCopies copies) {
  DPTRAIN_CHECK(points_.empty() || points_.back().step < step, "a rollback point of step {} after one of {}", step,
                points_.back().step);
  points_.push_back({step, std::move(copies)});
  if (points_.size() > kPoints) points_.pop_front();
}

const RollbackPoints::Point& RollbackPoints::back(std::int64_t step) {
  if (points_.back().step >= step) give_up_latest();
  if (step <= failed_at_) give_up_latest();
  failed_at_ = step;
  return points_.back();
}

std::vector<std::int64_t> RollbackPoints::steps() const {
  std::vector<std::int64_t> steps;
  for (const Point& point : points_) steps.push_back(point.step);
  return steps;
}

}  // namespace dptrain

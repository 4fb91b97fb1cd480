// Purpose: which replica runs which micro-batches, from one change to the next. The weights do not depend on it.
// Thread safety: immutable; replicas and their loaders keep the one that they work by.
#pragma once

#include <limits>
#include <vector>

#include "train/schedule.h"

namespace dptrain {

/// Of a replica that has failed.
inline constexpr double kNever = std::numeric_limits<double>::infinity();

/// `count` micro-batches over replicas to which one costs so much, so that the last to end ends as early as it can;
/// equal costs give share(). Each replica gets at least one where there are enough, or its cost would never be known
/// again; none where it is kNever. At least one cost is below that.
std::vector<int> allot(int count, const std::vector<double>& costs);

class Assignment {
 public:
  /// `costs` by replica, all above 0. The schedule outlives it.
  Assignment(const RunSchedule& schedule, std::vector<double> costs);

  const StepPlan& plan(std::int64_t step) const { return &schedule_.plan(step) == &schedule_.last() ? last_ : full_; }
  const StepPlan& full() const { return full_; }
  const StepPlan& last() const { return last_; }
  const std::vector<double>& costs() const { return costs_; }
  /// Micro-batches of a full step, by replica.
  const std::vector<int>& shares() const { return shares_; }
  /// Replicas that have not failed, and how many of them come before `rank`.
  int able() const { return able_before(static_cast<int>(costs_.size())); }
  int able_before(int rank) const;

 private:
  const RunSchedule& schedule_;
  std::vector<double> costs_;
  std::vector<int> shares_;
  StepPlan full_, last_;
};

}  // namespace dptrain

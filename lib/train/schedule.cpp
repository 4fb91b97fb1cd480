#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace dptrain {

StepPlan plan_step(std::int64_t samples, std::int64_t micro_batch_size, int replicas) {
  StepPlan plan;
  plan.samples = samples;
  plan.micro_batches = cut(samples, micro_batch_size);
  const int count = static_cast<int>(plan.micro_batches.size());
  for (int r = 0; r < replicas; ++r) plan.programs.push_back(replica_program(count, share(count, replicas, r)));
  plan.combine = combine_program(count, plan.programs);
  return plan;
}

StepPlan replan(const StepPlan& plan, const std::vector<int>& shares) {
  StepPlan other;
  other.samples = plan.samples;
  other.micro_batches = plan.micro_batches;
  const int count = static_cast<int>(plan.micro_batches.size());
  int first = 0;
  for (const int share : shares) {
    other.programs.push_back(replica_program(count, {first, first + share}));
    first += share;
  }
  DPTRAIN_CHECK(first == count, "{} of {} micro-batches are assigned", first, count);
  other.combine = combine_program(count, other.programs);
  return other;
}

RunSchedule::RunSchedule(const JobSpec& job, std::int64_t samples, int replicas)
    : samples_(samples),
      global_batch_(job.train.global_batch_size),
      steps_per_epoch_((samples + global_batch_ - 1) / global_batch_) {
  steps_ = job.train.steps
               ? *job.train.steps
               : std::max<std::int64_t>(1, std::llround(*job.train.epochs * static_cast<double>(steps_per_epoch_)));
  const std::int64_t size = micro_batch_size(job, replicas);
  full_ = plan_step(std::min(global_batch_, samples), size, replicas);
  last_ = plan_step(samples - (steps_per_epoch_ - 1) * global_batch_, size, replicas);
}

std::int64_t RunSchedule::samples_before(std::int64_t steps) const {
  return steps / steps_per_epoch_ * samples_ + steps % steps_per_epoch_ * global_batch_;
}

std::vector<std::int64_t> RunSchedule::batch_sizes() const {
  std::vector<std::int64_t> sizes;
  for (const StepPlan* plan : {&full_, &last_}) {
    for (const MicroBatch& batch : plan->micro_batches) {
      if (std::find(sizes.begin(), sizes.end(), batch.count) == sizes.end()) sizes.push_back(batch.count);
    }
  }
  return sizes;
}

std::int64_t RunSchedule::largest_batch() const {
  return std::max(full_.micro_batches.front().count, last_.micro_batches.front().count);
}

std::int64_t RunSchedule::steps_of(const Interval& interval) const {
  const double steps =
      interval.every * (interval.unit == Interval::Unit::epochs ? static_cast<double>(steps_per_epoch_) : 1.0);
  return std::max<std::int64_t>(1, std::llround(steps));
}

}  // namespace dptrain

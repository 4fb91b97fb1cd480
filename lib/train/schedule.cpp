#include "train/schedule.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "train/local_sgd/slices.h"

namespace dptrain {

namespace {

StepPlan plan_cut(std::int64_t samples, std::vector<MicroBatch> micro_batches, int replicas) {
  StepPlan plan;
  plan.samples = samples;
  plan.micro_batches = std::move(micro_batches);
  const int count = static_cast<int>(plan.micro_batches.size());
  for (int r = 0; r < replicas; ++r) plan.programs.push_back(replica_program(count, share(count, replicas, r)));
  plan.combine = combine_program(count, plan.programs);
  return plan;
}

}  // namespace

StepPlan plan_step(std::int64_t samples, std::int64_t micro_batch_size, int replicas) {
  return plan_cut(samples, cut(samples, micro_batch_size), replicas);
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
  const auto plan = [&](std::int64_t count) {
    if (job.mode != Mode::local_sgd) return plan_step(count, size, replicas);
    return plan_cut(count, slice_step(count, job.local_sgd.workers, size).micro_batches, replicas);
  };
  full_ = plan(std::min(global_batch_, samples));
  last_ = plan(samples - (steps_per_epoch_ - 1) * global_batch_);
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
  const std::vector<std::int64_t> sizes = batch_sizes();
  return *std::max_element(sizes.begin(), sizes.end());
}

std::int64_t RunSchedule::steps_of(const Interval& interval) const {
  const double steps =
      interval.every * (interval.unit == Interval::Unit::epochs ? static_cast<double>(steps_per_epoch_) : 1.0);
  return std::max<std::int64_t>(1, std::llround(steps));
}

}  // namespace dptrain

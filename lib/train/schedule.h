// Purpose: the steps of a run: which samples of which epoch a step takes, how it is cut, who runs what.
// Thread safety: immutable. Invariants: in an epoch every sample belongs to exactly one micro-batch.
#pragma once

#include <cstdint>
#include <vector>

#include "spec/job_spec.h"
#include "train/micro_batches.h"
#include "train/reduction_tree.h"

namespace dptrain {

/// Everything about a step of a given number of samples.
struct StepPlan {
  std::int64_t samples = 0;
  std::vector<MicroBatch> micro_batches;
  std::vector<ReplicaProgram> programs;  ///< by replica
  CombineProgram combine;
};

StepPlan plan_step(std::int64_t samples, std::int64_t micro_batch_size, int replicas);
/// The same step where replica r runs the next shares[r] micro-batches; together they are all of them.
StepPlan replan(const StepPlan& plan, const std::vector<int>& shares);

class RunSchedule {
 public:
  /// `samples` of the training set, at least 1.
  RunSchedule(const JobSpec& job, std::int64_t samples, int replicas);

  std::int64_t steps() const { return steps_; }
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  std::int64_t epoch(std::int64_t step) const { return step / steps_per_epoch_; }
  /// Position in the epoch's order of the step's first sample.
  std::int64_t first_sample(std::int64_t step) const { return step % steps_per_epoch_ * global_batch_; }
  const StepPlan& plan(std::int64_t step) const {
    return step % steps_per_epoch_ == steps_per_epoch_ - 1 ? last_ : full_;
  }
  const StepPlan& full() const { return full_; }
  const StepPlan& last() const { return last_; }
  /// Samples of the first `steps` steps.
  std::int64_t samples_before(std::int64_t steps) const;
  /// Batch sizes that occur in training, without repetition. The first is a full step's, for which layouts are chosen;
  /// it need not be the largest: 10 samples in micro-batches of at most 7 are cut into 5 + 5, but a last step of 7
  /// stays whole.
  std::vector<std::int64_t> batch_sizes() const;
  std::int64_t largest_batch() const;
  /// Steps of an interval, at least 1.
  std::int64_t steps_of(const Interval& interval) const;

 private:
  std::int64_t samples_, global_batch_, steps_per_epoch_, steps_;
  StepPlan full_, last_;
};

}  // namespace dptrain

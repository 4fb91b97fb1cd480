// Purpose: which samples a micro-batch has, and what they are augmented by. Thread safety: immutable.
#pragma once

#include <cstdint>
#include <span>

#include "core/error.h"
#include "data/loader.h"
#include "data/sampler.h"
#include "train/schedule.h"

namespace dptrain {

class BatchNames {
 public:
  /// Of `samples` training samples. `schedule` must outlive it.
  BatchNames(const JobSpec& job, const RunSchedule& schedule, std::int64_t samples)
      : schedule_(schedule), seed_(job.seed), sampler_(samples, job.seed, job.train.shuffle) {}

  /// The ids of this micro-batch of `step`, to the front of `ids`.
  Loader::Named name(std::int64_t step, const MicroBatch& part, std::span<std::int64_t> ids) const {
    const auto count = static_cast<std::size_t>(part.count);
    DPTRAIN_CHECK(count <= ids.size(), "a batch of {} samples in a place for {}", count, ids.size());
    const std::int64_t epoch = schedule_.epoch(step);
    sampler_.order(epoch, schedule_.first_sample(step) + part.first, ids.first(count));
    return {count, RandomStream(seed_, RandomPurpose::augment, 0, static_cast<std::uint64_t>(epoch))};
  }

 private:
  const RunSchedule& schedule_;
  std::uint64_t seed_;
  Sampler sampler_;
};

}  // namespace dptrain

#include "train/async/version_rates.h"

#include <algorithm>

#include "optim/optimizer.h"

namespace dptrain {

std::int64_t RestPlan::after(std::int64_t step) const {
  std::int64_t next = end;
  for (const std::int64_t every : {evaluate_every, checkpoint_every, epoch}) {
    next = std::min(next, (step / every + 1) * every);
  }
  return next;
}

RestPlan rests_of(const JobSpec& job, const RunSchedule& schedule) {
  const auto steps = [&](const std::optional<Interval>& every) {
    return every ? schedule.steps_of(*every) : schedule.steps();
  };
  return {.evaluate_every = steps(job.evaluate.every),
          .checkpoint_every = steps(job.checkpoint.every),
          .epoch = schedule.steps_per_epoch(),
          .end = schedule.steps()};
}

std::int64_t planned_versions(const MicroBatchPlaces& places, const RestPlan& rests, std::int64_t per_version,
                              std::int64_t first, std::int64_t last) {
  std::int64_t versions = 0;
  while (first < last) {
    const std::int64_t rest = std::min(last, rests.after(first));
    const std::int64_t gradients = places.first_of(rest) - places.first_of(first);
    versions += (gradients + per_version - 1) / per_version;
    first = rest;
  }
  return versions;
}

VersionRates::VersionRates(const JobSpec& job, const MicroBatchPlaces& places, const RestPlan& rests,
                           std::int64_t per_version)
    : per_version_(per_version),
      schedule_(make_schedule(
          job.train.schedule, base_lr(job.train.optimizer), planned_versions(places, rests, per_version, 0, rests.end),
          planned_versions(places, {rests.evaluate_every, rests.checkpoint_every, rests.epoch, rests.epoch},
                           per_version, 0, rests.epoch))) {}

double VersionRates::rate(std::int64_t version) const {
  if (fallen_at_ >= 0 && version > fallen_at_) version = fallen_at_ + (version - fallen_at_) * worth_;
  return schedule_.lr(version);
}

void VersionRates::fall_back(std::int64_t version, std::int64_t gradients) {
  fallen_at_ = version;
  worth_ = std::max<std::int64_t>(1, (gradients + per_version_ - 1) / per_version_);
}

std::int64_t gradients_per_version(const AsyncSpec& async, std::int64_t micro_batches) {
  return async.updates_per_apply.value_or(async.max_staleness == 0 ? micro_batches : 1);
}

}  // namespace dptrain

#include "train/async/version_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

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

namespace {

std::int64_t count_versions(const MicroBatchPlaces& places, const RestPlan& rests, std::int64_t per_version,
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

std::int64_t samples_of(const MicroBatchPlaces& places, std::int64_t per_version) {
  std::int64_t samples = 0;
  for (std::int64_t index = 0; index < per_version; ++index) samples += places.samples(index);
  return samples;
}

}  // namespace

std::int64_t planned_versions(const MicroBatchPlaces& places, const RestPlan& rests, std::int64_t per_version,
                              std::int64_t steps) {
  // Runs may be very long: what repeats is counted once.
  std::int64_t period = rests.epoch;
  for (const std::int64_t every : {rests.evaluate_every, rests.checkpoint_every}) {
    if (every >= steps || period >= steps) continue;
    const std::int64_t times = every / std::gcd(period, every);
    period = times <= steps / period ? period * times : steps;
  }
  if (period >= steps) return count_versions(places, rests, per_version, 0, steps);
  return steps / period * count_versions(places, rests, per_version, 0, period) +
         count_versions(places, rests, per_version, 0, steps % period);
}

VersionRates::VersionRates(const JobSpec& job, const MicroBatchPlaces& places, const RestPlan& rests,
                           std::int64_t per_version)
    : per_version_(per_version),
      planned_(planned_versions(places, rests, per_version, rests.end)),
      schedule_(job.train.schedule, base_lr(job.train.optimizer), planned_,
                planned_versions(places, {rests.evaluate_every, rests.checkpoint_every, rests.epoch, rests.epoch},
                                 per_version, rests.epoch),
                lr_scale(job.train, samples_of(places, per_version))),
      scale_of_step_(lr_scale(job.train, job.train.global_batch_size) /
                     lr_scale(job.train, samples_of(places, per_version))) {}

double VersionRates::rate(std::int64_t version, std::int64_t left_out) const {
  const bool fallen = fallen_at_ >= 0 && version >= fallen_at_;
  if (fallen) version = fallen_at_ + (version - fallen_at_) * worth_;
  const std::int64_t place = version + left_out / per_version_;
  return schedule_.lr(std::min(place, std::max(version, planned_))) * (fallen ? scale_of_step_ : 1);
}

void VersionRates::fall_back(std::int64_t version, std::int64_t gradients) {
  fallen_at_ = version;
  worth_ = std::max<std::int64_t>(1, (gradients + per_version_ - 1) / per_version_);
}

std::int64_t gradients_per_version(const AsyncSpec& async, const RunSchedule& schedule) {
  const auto a_step = static_cast<std::int64_t>(schedule.full().micro_batches.size());
  const std::int64_t an_epoch = MicroBatchPlaces(schedule).first_of(schedule.steps_per_epoch());
  return std::min(an_epoch, async.updates_per_apply.value_or(async.max_staleness == 0 ? a_step : 1));
}

std::int64_t updates_of_run(const JobSpec& job, const RunSchedule& schedule) {
  if (job.mode != Mode::async) return schedule.steps();
  return planned_versions(MicroBatchPlaces(schedule), rests_of(job, schedule),
                          gradients_per_version(job.async, schedule), schedule.steps());
}

std::int64_t samples_of_update(const JobSpec& job, const RunSchedule& schedule) {
  if (job.mode != Mode::async) return job.train.global_batch_size;
  return samples_of(MicroBatchPlaces(schedule), gradients_per_version(job.async, schedule));
}

std::vector<std::string> async_warnings(const JobSpec& job, const RunSchedule& schedule) {
  std::vector<std::string> found;
  if (job.mode != Mode::async) return found;
  const auto replicas = static_cast<std::int64_t>(schedule.full().programs.size());
  const std::int64_t per_version = gradients_per_version(job.async, schedule);
  const std::optional<std::int64_t>& bound = job.async.max_staleness;
  if (bound && job.async.on_stale != OnStale::drop && replicas > per_version * (*bound + 1)) {
    found.push_back(fmt::format(
        "async.max_staleness: {} lets {} of {} replicas compute at a time, and the others wait; a bound of {} or more "
        "lets all of them",
        *bound, per_version * (*bound + 1), replicas, (replicas + per_version - 1) / per_version - 1));
  }
  if (!bound && job.async.on_stale == OnStale::drop)
    found.push_back("async.on_stale: drop leaves nothing out without a bound: set async.max_staleness");
  if (job.async.on_stale == OnStale::scale && !std::holds_alternative<SgdSpec>(job.train.optimizer)) {
    found.push_back(
        "async.on_stale: scale makes gradients smaller, which the steps of this optimizer depend on little: it divides "
        "by "
        "what gradients are like");
  }
  if (job.async.fallback_loss_above &&
      (bound == 0 || (job.log.every && schedule.steps_of(*job.log.every) > schedule.steps())))
    found.push_back(bound == 0
                        ? "async.fallback: with max_staleness 0 there is nothing to fall back to"
                        : "async.fallback: the loss is looked at when it is logged, and log.every is behind the end");
  if (job.balance != Balance::off)
    found.push_back(
        "balance: auto has nothing to do in mode async, where replicas take micro-batches as they are free");
  return found;
}

}  // namespace dptrain

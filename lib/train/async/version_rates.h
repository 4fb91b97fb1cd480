// Purpose: the versions that a run will make, and the learning rate of each: schedules run on applied versions.
// Thread safety: rate() from any thread; fall_back() while nobody asks.
#pragma once

#include <string>
#include <vector>

#include "optim/schedule.h"
#include "train/async/places.h"

namespace dptrain {

/// Where a run rests: nothing is in the air there, and a version that lacks gradients is applied short.
struct RestPlan {
  std::int64_t evaluate_every = 1, checkpoint_every = 1;  ///< steps
  std::int64_t epoch = 1;                                 ///< steps of one
  std::int64_t end = 0;                                   ///< steps of the run

  /// The first step after `step` at which it rests.
  std::int64_t after(std::int64_t step) const;
};

RestPlan rests_of(const JobSpec& job, const RunSchedule& schedule);

/// Versions of the first `steps` steps, at `per_version` gradients each, where none is dropped.
std::int64_t planned_versions(const MicroBatchPlaces& places, const RestPlan& rests, std::int64_t per_version,
                              std::int64_t steps);

class VersionRates {
 public:
  VersionRates(const JobSpec& job, const MicroBatchPlaces& places, const RestPlan& rests, std::int64_t per_version);

  /// What version `version` + 1 is made with, after `left_out` gradients that were dropped or skipped: they count as if
  /// they had been applied, so that the schedule comes to its end with the run.
  double rate(std::int64_t version, std::int64_t left_out = 0) const;
  /// From `version` on a version is worth `gradients` gradients, as far as the schedule goes.
  void fall_back(std::int64_t version, std::int64_t gradients);

 private:
  std::int64_t per_version_, planned_;
  Schedule schedule_;
  double scale_of_step_;                     // what a version of a whole step takes over one as it was planned
  std::int64_t fallen_at_ = -1, worth_ = 1;  // in versions as they were
};

/// Gradients that make a version; an epoch has at least as many.
std::int64_t gradients_per_version(const AsyncSpec& async, const RunSchedule& schedule);

/// Updates of the weights in the whole run, steps or versions, and the samples of one.
std::int64_t updates_of_run(const JobSpec& job, const RunSchedule& schedule);
std::int64_t samples_of_update(const JobSpec& job, const RunSchedule& schedule);

/// What of the job's asynchronous settings is allowed but hardly meant.
std::vector<std::string> async_warnings(const JobSpec& job, const RunSchedule& schedule);

}  // namespace dptrain

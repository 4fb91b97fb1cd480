// Purpose: what the replicas of a run in `mode: local_sgd` share beyond a Run: the workers, and what a round leaves to
//   be told.
// Thread safety: as Run; what is kept by replica, worker or micro-batch belongs to the thread that runs it until the
//   next barrier.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/loss_sum.h"
#include "train/local_sgd/rounds.h"
#include "train/local_sgd/slices.h"
#include "train/local_sgd/workers.h"
#include "train/progress.h"
#include "train/schedule.h"

namespace dptrain {

/// The first local step of a replica whose loss or gradient is not finite.
struct NotFiniteStep {
  std::int64_t step = 0;
  int worker = 0, micro_batch = 0, replica = 0;  ///< the micro-batch counts within the step
  bool loss = false;                             ///< the loss is not; otherwise a gradient is
};

/// What is to be told of one step of a round, after it.
struct ToldStep {
  std::span<LossSum> losses;   ///< by micro-batch
  std::span<StepTimes> times;  ///< by replica
  double& end;                 ///< when this process's first replica was done with its part
};

struct LocalSgdConfig {
  const JobSpec& job;
  const RunSchedule& schedule;
  WorkersConfig workers;
  int replicas = 1;            ///< of the whole job
  std::int64_t first = 0;      ///< step; those before it are done
  std::int64_t averages = -1;  ///< made before it; -1: as many as a run in one piece makes
};

struct LocalSgd {
  explicit LocalSgd(const LocalSgdConfig& config);

  const std::vector<Slice>& slices(std::int64_t step) const {
    return &schedule.plan(step) == &schedule.last() ? last.slices : full.slices;
  }
  /// Samples that each worker takes in the steps [first, last).
  std::vector<std::int64_t> samples(std::int64_t first, std::int64_t last) const;
  /// How many updates the state of this worker's optimizer has seen before `step`.
  std::int64_t updates(int worker, std::int64_t step) const;
  /// The first step began in the middle of a round, where a shorter run had its end, and an average.
  bool begins_inside_a_round() const { return rounds.first(first_step) != first_step; }

  const LocalSgdSpec spec;
  const RunSchedule& schedule;
  const Rounds rounds;
  const std::int64_t first_step;
  std::int64_t averages;  // made so far; rank 0's, while the others are between two averages
  const SlicedStep full, last;
  Workers workers;

  /// Step `k` of the round.
  ToldStep told(std::int64_t k);
  /// Of steps of a round, by step and then by micro-batch, or replica; what others have found is known after a share.
  std::vector<LossSum> losses;
  std::vector<StepTimes> times;
  std::vector<double> ends;
  std::vector<std::optional<NotFiniteStep>> not_finite;  // by replica
  /// The first step of which that is known: nobody needs to go further.
  std::atomic<std::int64_t> not_finite_at{std::numeric_limits<std::int64_t>::max()};
};

}  // namespace dptrain

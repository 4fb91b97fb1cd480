// Purpose: what the replicas of a run in `mode: local_sgd` share beyond a Run: the workers, and what a round leaves to be told.
// Thread safety: as Run; what is kept by replica, worker or micro-batch belongs to the thread that runs it until the next barrier.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>
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

/// One step of a round, to be told after it.
struct ToldStep {
  std::vector<LossSum> losses;   ///< by micro-batch
  std::vector<StepTimes> times;  ///< by replica
  double end = 0;                ///< when replica 0 was done with its part
};

struct LocalSgd {
  /// For steps from `first` on, before which `averages` were made; -1: as many as a run in one piece makes.
  LocalSgd(const JobSpec& job, const RunSchedule& schedule, std::int64_t floats, int state_buffers, int replicas,
           std::int64_t first = 0, std::int64_t averages = -1, const Workers::Allocate& allocate = &Buffer::host);

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

  std::vector<ToldStep> round;                           // by step of the round
  std::vector<std::optional<NotFiniteStep>> not_finite;  // by replica
  /// The first step of which that is known: nobody needs to go further.
  std::atomic<std::int64_t> not_finite_at{std::numeric_limits<std::int64_t>::max()};
};

}  // namespace dptrain

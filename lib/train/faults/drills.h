// Purpose: what goes wrong on purpose: the job's `drills`, each at its step on its replica, once.
// Thread safety: a drill belongs to its replica's thread; `give_up` may be asked by any.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "spec/job_spec.h"
#include "train/replica.h"

namespace dptrain {

/// A drill that has happened: its step and its replica.
using DrillDone = std::pair<std::int64_t, std::int64_t>;

class Drills {
 public:
  /// `give_up`: whether a stall need not go on, because the run has ended for another reason.
  Drills(const std::vector<DrillSpec>& drills, std::function<bool()> give_up);

  /// Before replica `rank` runs `step`: throws and stalls, where that is due.
  void before(int rank, std::int64_t step);
  /// Whether the gradient shall be spoilt.
  bool poisons(int rank, std::int64_t step);
  /// Steps and replicas of the gradients that were spoilt: they are not spoilt again where a step comes once more,
  /// which makes them a part of the run's state. While no replica is in a step.
  std::vector<DrillDone> spoilt() const;
  /// Those that came in an earlier part of the run do not come again; nor do those of steps before, which came as well.
  void leave_out(DrillKind kind, const DrillDone& done);
  /// Those of steps from `first` on and before `end` that did not happen. As spoilt().
  std::vector<DrillSpec> missed(std::int64_t first, std::int64_t end) const;
  /// How many times as long `rank` shall take `step`; 1 where no drill slows it down.
  double slowness(int rank, std::int64_t step) const;

 private:
  struct Drill {
    DrillSpec spec;
    bool done = false;
  };
  bool due(Drill& drill, DrillKind kind, int rank, std::int64_t step) const;
  void stall(const DrillSpec& drill) const;

  std::vector<Drill> drills_;
  std::function<bool()> give_up_;
};

/// Behind what took the host's thread `times`: sleeps for as long as that is meant to have taken longer, which counts
/// as computing.
void linger(double slowness, Replica::Times& times);

}  // namespace dptrain

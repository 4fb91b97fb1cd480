// Purpose: what goes wrong on purpose: the job's `drills`, each at its step on its replica, once.
// Thread safety: a drill belongs to its replica's thread; `give_up` may be asked by any.
#pragma once

#include <functional>
#include <vector>

#include "spec/job_spec.h"
#include "train/replica.h"

namespace dptrain {

class Drills {
 public:
  /// `give_up`: whether a stall need not go on, because the run has ended for another reason.
  Drills(const std::vector<DrillSpec>& drills, std::function<bool()> give_up);

  /// Before replica `rank` runs `step`: throws and stalls, where that is due.
  void before(int rank, std::int64_t step);
  /// Whether the gradient shall be spoilt.
  bool poisons(int rank, std::int64_t step);
  /// After it: a slow replica sleeps for as long as it is meant to have taken longer, which counts as computing.
  void after(int rank, std::int64_t step, Replica::Times& times) const;

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

}  // namespace dptrain

// Purpose: what all processes must know of a step that all have computed: its losses, what may need to be settled, and
//   requests to stop. With it each decides by itself what all decide. Thread safety: every replica for its own rank.
//   Invariants: nothing is allocated after construction.
#pragma once

#include <cstddef>
#include <vector>

#include "train/fit/fit.h"
#include "train/schedule.h"

namespace dptrain {

struct Run;

class StepStatus {
 public:
  /// The placement outlives it.
  StepStatus(const Placement& placement, const RunSchedule& schedule);

  /// The reducer's gather(), and among several processes this in the midst of it; seconds waited. `plan` is of the step
  /// whose losses are known, which may be an earlier one. All replicas of all processes together. Errors: GroupAborted.
  double gather(Run& run, int rank, const StepPlan& plan);
  /// The same without the reducer: of a step that was computed before.
  void meet(Run& run, const StepPlan& plan);

 private:
  void share(Run& run, const StepPlan& plan);
  Range micro_batches(const StepPlan& plan, int process) const;

  const Placement& placement_;
  std::size_t losses_ = 0, block_ = 0;  // where a process's losses begin, and its length, in bytes
  std::vector<std::byte> mine_, all_;
  std::vector<int> stops_;
};

}  // namespace dptrain

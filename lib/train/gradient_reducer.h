// Purpose: the second half of a synchronous step: the rest of the tree over all replicas' gradient sums, then divide,
//   clip and update. Holds the run's parameters and optimizer state, wherever the devices want them.
// Thread safety: begin(), gather(), finite(), update() and parameters() are called by every replica's thread for its
//   own rank, with otherwise the same arguments; load() and save() by one thread while no replica is in a step.
// Invariants: an element's result is the tree's sum whoever computes it; sums over the buffer run over fixed chunks in
//   index order.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/loss_scale.h"
#include "kernels/update_ranges.h"
#include "kernels/update_rules.h"
#include "train/replica.h"
#include "train/weights_holder.h"

namespace dptrain {

class GradientReducer : public WeightsHolder {
 public:
  /// Floats; the unit of slices and of sums, so it must not depend on the number of replicas.
  static constexpr std::int64_t kChunk = 1024;

  struct Times {
    double wait = 0;    ///< seconds at barriers
    double reduce = 0;  ///< seconds in additions and updates: one pass over the parameters does both
    double end = 0;     ///< steady_seconds() on return
  };

  /// The replica's gradients from now on. Before the first step.
  virtual void join(int rank, Replica& replica) = 0;

  /// Whether steps of this plan can be added up: devices may take only so many sums.
  virtual bool takes(const StepPlan&) const { return true; }

  /// What the coming step of this replica applies. Before Replica::run().
  virtual void begin(int rank, const StepUpdate& update) = 0;
  /// Returns when all replicas have run their part of the step; seconds waited. Until the same thread's update() no
  /// replica begins the next step. Errors: GroupAborted.
  virtual double gather(int rank) = 0;
  /// After this call replica `rank` reads the next step's parameters. Errors: GroupAborted.
  virtual Times update(int rank, const StepPlan& plan) = 0;

  /// After gather(), instead of update(): whether every element of the tree's sum in this replica's slice is finite.
  virtual bool finite(int, const StepPlan&) { return true; }

  /// The scale of losses after the last update, where there is one. As save(): by one thread, and it waits for the
  /// devices.
  virtual std::optional<LossScale> loss_scale() const { return {}; }

  /// A replica has failed: what is in line on the devices and waits for its part never gets it, and must not be waited
  /// for. Any thread, at any time.
  virtual void abandon() noexcept {}
  /// The run has come to its end in all processes: what their devices hold together is given back. By one thread of
  /// each, when no replica is at work. Errors: retry where one of the others does not come to that.
  virtual void close() {}
};

}  // namespace dptrain

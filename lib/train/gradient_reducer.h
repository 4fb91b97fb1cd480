// Purpose: the second half of a synchronous step on replicas that share memory: the rest of the tree over all replicas'
//   gradient sums, then divide, clip and update, each replica on its own slice of the flat buffers.
// Thread safety: step() is called by every replica's thread, with the same arguments but for the rank.
// Invariants: an element's result is the tree's sum whoever computes it; sums over the buffer run over fixed chunks in
//   index order.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "comm/local/local_group.h"
#include "core/clock.h"
#include "device/buffer.h"
#include "kernels/update_rules.h"
#include "optim/optimizer.h"
#include "train/schedule.h"

namespace dptrain {

class GradientReducer {
 public:
  /// Parameters and optimizer state of the run: `floats` each, shared by all replicas.
  GradientReducer(LocalGroup& group, std::int64_t floats, int state_buffers, std::optional<double> clip_norm);

  float* parameters() const { return parameters_.floats(); }
  /// Replica `rank` leaves its root k of ReplicaProgram in buffers[k]. Before the first step.
  void lend(int rank, const std::vector<float*>& buffers) { buffers_[static_cast<std::size_t>(rank)] = buffers; }

  struct Times {
    double wait = 0;    ///< seconds at barriers
    double reduce = 0;  ///< seconds in additions and updates: one pass over the parameters does both
    double end = 0;     ///< steady_seconds() on return
  };
  /// Runs `before_update` on rank 0 while all replicas' gradients and losses of this step are complete and none of the
  /// next step has begun. On return the parameters are the next step's. Errors: GroupAborted, what before_update throws.
  template <class Function>
  Times step(int rank, const StepPlan& plan, const UpdateRule& rule, Function&& before_update) {
    Times times;
    const double start = steady_seconds();
    group_.barrier();  // all gradients are there
    const double arrived = steady_seconds();
    if (rank == 0) before_update();
    double waited = reduce(rank, plan, rule);
    const double reduced = steady_seconds();
    group_.barrier();  // all slices are updated, and the gradient buffers are free again
    times.reduce = reduced - arrived - waited;
    times.end = steady_seconds();
    times.wait = (arrived - start) + waited + (times.end - reduced);
    return times;
  }

 private:
  /// Floats; the unit of slices and of sums, so it must not depend on the number of replicas.
  static constexpr std::int64_t kChunk = 1024;

  double reduce(int rank, const StepPlan& plan, const UpdateRule& rule);  // seconds spent waiting
  Range slice(int rank) const;                                            // in chunks
  const float* tree_sum(const CombineProgram& program, std::int64_t offset, std::int64_t count, float* scratch) const;
  void update(const UpdateRule& rule, std::int64_t offset, std::int64_t count, const float* gradient);

  LocalGroup& group_;
  std::int64_t floats_;
  std::optional<double> clip_norm_;
  Buffer parameters_, state_[2];
  Buffer reduced_;  // mean gradients, only where they are clipped
  std::vector<double> chunk_squares_;
  std::vector<std::vector<float*>> buffers_;  // by replica
};

}  // namespace dptrain

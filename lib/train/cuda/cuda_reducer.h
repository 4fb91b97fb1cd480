// Purpose: the reducer of replicas on one GPU: one copy of parameters and optimizer state in its memory, of which each
//   replica reduces and updates its own slice on its own stream; where an optimizer looks at whole tensors the first
//   one updates all. A replica alone records its update with its step. See train/gradient_reducer.h.
// Thread safety: as train/gradient_reducer.h says.
// Invariants: what one replica's kernels read of another's was finished by an event that they wait for; the host only
//   makes sure that the events are in line before anybody asks for them.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "comm/local/local_group.h"
#include "device/cuda/runtime.h"
#include "train/backend.h"
#include "train/cuda/cuda_replica.h"
#include "train/cuda/cuda_tensor_updates.h"
#include "train/cuda/sum_order.h"
#include "train/cuda/update_blocks.h"

namespace dptrain {

class CudaReducer final : public GradientReducer {
 public:
  CudaReducer(const ReducerConfig& config, int device, bool reproducible);

  const float* parameters(int) const override { return parameters_.floats(); }
  const float* average(int) const override { return average_.size() == 0 ? nullptr : average_.floats(); }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* state) override;
  void save_state(int k, float* state) const override;
  void join(int rank, Replica& replica) override;
  bool takes(const StepPlan& plan) const override { return fits(plan.combine); }
  void begin(int rank, const StepUpdate& update) override;
  double gather(int rank) override;
  Times update(int rank, const StepPlan& plan) override;
  /// Of each replica's own sums; what only adding them up would take out of the range of floats is found when weights
  /// are looked at.
  bool finite(int rank, const StepPlan& plan) override;
  std::optional<LossScale> loss_scale() const override;

 private:
  struct Member {
    CudaReplica* replica = nullptr;
    UpdateRule rule;
    cuda::Event reduced, updated;  // its slice's squares are known; its slice of the parameters is the next step's
  };

  void to_device(const Buffer& target, const float* from);
  void from_device(const Buffer& source, float* to) const;

  struct Floats {
    std::int64_t first = 0, count = 0;
  };
  Floats slice(int rank) const;
  /// Puts the reduction and update of floats [first, first + count) behind what `member`'s stream has in line; `meet`
  /// is called where every replica's squares are needed.
  template <class Meet>
  void enqueue(Member& member, const StepPlan& plan, const cuda::StepConstants* constants, std::int64_t first,
               std::int64_t count, Meet&& meet);
  /// A replica alone records its update with its step, unless the host decides first what becomes of it.
  bool records_update() const { return group_.size() == 1 && members_.front().replica->lag() > 0; }
  cuda::Target target_of(const Member& member, std::int64_t first) const;
  const float* decide(Member& member, const double* squares);
  void wait_for_all(int rank, cuda::Event Member::*event);

  LocalGroup& group_;
  int device_;
  std::int64_t floats_;
  std::optional<double> clip_norm_;
  std::optional<LossScaling> loss_scaling_;
  bool needs_norm_;  // before anything is updated: gradients are clipped, or may have to be left out
  bool needs_mean_;  // likewise, or an optimizer looks at whole tensors
  const UpdatePlan plan_;
  const bool reproducible_;
  int state_buffers_;
  Buffer parameters_, state_[2], average_;
  Buffer blocks_;                // how each part is updated; empty where all parts are updated alike
  Buffer mean_;                  // only where it is needed
  Buffer chunk_squares_;         // only where the norm is needed
  std::vector<Buffer> factors_;  // by rank, likewise
  std::unique_ptr<CudaTensorUpdates> tensor_updates_;  // by rank 0, of whole tensors; null: each element by itself
  std::vector<Member> members_;
  std::vector<std::vector<float*>> gradients_;  // by rank
};

}  // namespace dptrain

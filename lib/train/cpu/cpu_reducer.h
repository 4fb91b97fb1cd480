// Purpose: the reducer of replicas that share the host's memory: one copy of parameters and optimizer state, of which each
//   replica reduces and updates its own slice. See train/gradient_reducer.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "comm/local/local_group.h"
#include "device/buffer.h"
#include "train/gradient_reducer.h"

namespace dptrain {

class CpuReducer final : public GradientReducer {
 public:
  CpuReducer(LocalGroup& group, std::int64_t floats, int state_buffers, std::optional<double> clip_norm,
             UpdateRanges ranges = {});

  const float* parameters(int) const override { return parameters_.floats(); }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* state) override;
  void save_state(int k, float* state) const override;
  void join(int rank, Replica& replica) override { lend(rank, replica.gradients()); }
  /// Replica `rank` leaves its root k of ReplicaProgram in buffers[k]. Before the first step.
  void lend(int rank, const std::vector<float*>& buffers) {
    members_[static_cast<std::size_t>(rank)].buffers = buffers;
  }

  void begin(int rank, const UpdateRule& rule) override { members_[static_cast<std::size_t>(rank)].rule = rule; }
  double gather(int rank) override;
  Times update(int rank, const StepPlan& plan) override;
  bool finite(int rank, const StepPlan& plan) const override;

 private:
  struct alignas(64) Member {
    std::vector<float*> buffers;
    UpdateRule rule;
  };

  double reduce(int rank, const StepPlan& plan);  // seconds spent waiting
  Range slice(int rank) const;                    // in chunks
  const float* tree_sum(const CombineProgram& program, std::int64_t offset, std::int64_t count, float* scratch) const;
  void apply(const UpdateRule& rule, std::int64_t offset, std::int64_t count, const float* gradient);

  LocalGroup& group_;
  std::int64_t floats_;
  std::optional<double> clip_norm_;
  UpdateRanges ranges_;
  Buffer parameters_, state_[2];
  Buffer reduced_;  // mean gradients, only where they are clipped
  std::vector<double> chunk_squares_;
  std::vector<Member> members_;  // by rank
};

}  // namespace dptrain

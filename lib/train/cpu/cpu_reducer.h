// Purpose: the reducer of replicas that share the host's memory, as threads or as processes: one copy of parameters and
//   optimizer state, of which each replica reduces and updates its own slice. Hosts first add up each other's sums:
//   cpu/host_sums.h. See train/gradient_reducer.h. Thread safety: as there.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "comm/local/local_group.h"
#include "device/buffer.h"
#include "train/cpu/host_gradients.h"
#include "train/cpu/host_sums.h"
#include "train/cpu/tensor_updates.h"
#include "train/gradient_reducer.h"

namespace dptrain {

class CpuReducer final : public GradientReducer {
 public:
  /// `shared`: there are other processes, and this is where their replicas of this host leave gradients; it outlives
  /// the reducer.
  CpuReducer(LocalGroup& group, std::int64_t floats, int state_buffers, std::optional<double> clip_norm,
             UpdatePlan plan = {}, HostGradients* shared = nullptr);

  const float* parameters(int) const override { return parameters_.floats(); }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* state) override;
  void save_state(int k, float* state) const override;
  const float* average(int) const override { return average_.size() == 0 ? nullptr : average_.floats(); }
  void join(int rank, Replica& replica) override { lend(rank, replica.gradients(), &replica.parameters()); }
  /// Replica `rank` leaves its root k of ReplicaProgram in buffers[k]. Before the first step. The table is needed where
  /// matrices are updated as a whole.
  void lend(int rank, const std::vector<float*>& buffers, const ParameterTable* table = nullptr) {
    members_[static_cast<std::size_t>(rank)].buffers = buffers;
    members_[static_cast<std::size_t>(rank)].table = table;
  }

  void begin(int rank, const StepUpdate& update) override {
    Member& member = members_[static_cast<std::size_t>(rank)];
    member.update = update;
    member.summed = false;
  }
  double gather(int rank) override;
  Times update(int rank, const StepPlan& plan) override;
  bool finite(int rank, const StepPlan& plan) override;

 private:
  struct alignas(64) Member {
    std::vector<float*> buffers;
    const ParameterTable* table = nullptr;
    StepUpdate update;
    bool summed = false;  // the hosts have added up this step
  };

  double reduce(int rank, const StepPlan& plan);  // seconds spent waiting
  Range slice(int rank) const;                    // in chunks
  Buffer memory(std::size_t bytes) const;
  bool writes() const;  // what all processes of the host would write alike
  void sum_over_hosts(int rank, const StepPlan& plan);
  const float* tree_sum(const CombineProgram& program, std::int64_t offset, std::int64_t count, float* scratch) const;
  const float* whole_sum(const StepPlan& plan, std::int64_t offset, std::int64_t count, float* scratch) const;
  double meet();  // likewise
  void apply(const StepUpdate& update, std::int64_t offset, std::int64_t count, const float* gradient);

  LocalGroup& group_;
  HostGradients* const shared_;
  const Range host_;  // the replicas that share this memory
  std::int64_t floats_;
  std::optional<double> clip_norm_;
  int state_buffers_;
  UpdateRanges ranges_;
  Buffer parameters_, state_[2], average_;
  Buffer reduced_;  // mean gradients, only where they are clipped or tensors are updated as a whole
  std::optional<TensorUpdates> tensors_;
  Buffer squares_memory_;
  std::span<double> chunk_squares_;
  std::vector<Member> members_;   // by rank
  std::optional<HostSums> sums_;  // where there are other hosts
};

}  // namespace dptrain

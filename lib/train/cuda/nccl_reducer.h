// Purpose: the reducer of replicas on a GPU each. Gradients lie in the order in which backward finishes them and are
//   reduced in buckets, contiguous ranges of the flat buffer, on a communication stream: a bucket starts when its last
//   layer is done, while backward goes on. See train/gradient_reducer.h.
//   In the fixed order (reproducible): every replica sends to every other the other's slice of each bucket, adds up its
//   own slice in the order of the tree, updates it, and all gather the new parameters. As many bytes as a ring's
//   all-reduce, and each replica needs optimizer state for its slices alone. Otherwise NCCL's own all-reduce, in fp32
//   or in bf16, which halves the bytes and rounds at each addition, and every replica updates all.
//   Where the optimizer looks at whole tensors the means are gathered in place of the parameters, and every replica
//   updates all. Replicas of other processes take part in all of that: a replica is a rank of NCCL, under its number in
//   the whole run.
// Thread safety: as train/gradient_reducer.h says.
// Invariants: a lost peer does not hang the others: the host waits for nothing of NCCL's but while it looks after its
//   errors and whether the run has failed, and gives up after a deadline with the replica and the bucket. Nothing but
//   host memory is given to the other processes by another way than NCCL.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "comm/local/local_group.h"
#include "comm/nccl/nccl_group.h"
#include "device/cuda/runtime.h"
#include "train/backend.h"
#include "train/cuda/cuda_replica.h"
#include "train/cuda/cuda_tensor_updates.h"
#include "train/cuda/sum_order.h"
#include "train/cuda/update_blocks.h"

namespace dptrain {

class NcclReducer final : public GradientReducer {
 public:
  struct Options {
    std::vector<int> devices;  ///< by replica of the whole run; those of this process count
    /// The way to other processes, and who has which replicas; they outlive the reducer. Null: there are none.
    Communicator* processes = nullptr;
    const Placement* placement = nullptr;
    bool reproducible = true;
    Communication communication = Communication::fp32;   ///< of NCCL's own all-reduce
    std::int64_t bucket_floats = std::int64_t{1} << 20;  ///< whole chunks
    std::chrono::nanoseconds step_deadline = std::chrono::minutes(10);
  };
  NcclReducer(const ReducerConfig& config, Options options);
  ~NcclReducer() override;

  const float* parameters(int rank) const override { return member(rank).parameters.floats(); }
  const float* average(int rank) const override {
    return member(rank).average.size() == 0 ? nullptr : member(rank).average.floats();
  }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* state) override;
  void save_state(int k, float* state) const override;
  bool is_spread() const override { return options_.processes != nullptr && in_slices_; }
  void gather_state() override;
  void join(int rank, Replica& replica) override;
  bool takes(const StepPlan& plan) const override { return fits(plan.combine); }
  void begin(int rank, const StepUpdate& update) override;
  double gather(int rank) override;
  Times update(int rank, const StepPlan& plan) override;
  bool finite(int rank, const StepPlan& plan) override;  ///< as CudaReducer's
  std::optional<LossScale> loss_scale() const override;
  void abandon() noexcept override { nccl_->abort(); }
  void close() override { nccl_->close(); }

 private:
  struct Bucket {
    std::int64_t first = 0, count = 0;
    std::vector<nccl::Slice> slices;  // by rank, in floats of the flat buffer
  };
  static constexpr std::int64_t kSteps = CudaReplica::kSteps;

  /// How far a replica is with a step.
  struct Stages {
    const cuda::Event* computed = nullptr;  // its own part
    std::vector<cuda::Event> reduced;       // by bucket: its communication is over
    cuda::Event updated;                    // all of it is over
  };
  /// What replica `rank` of this process needs on its own device; made with that device current.
  struct Member {
    CudaReplica* replica = nullptr;
    UpdateRule rule;
    cuda::Stream stream;                // for communication and updates
    std::vector<cuda::Event> ready;     // by bucket: its gradients are final here
    std::int64_t step = -1;             // of the latest update()
    std::array<Stages, kSteps> stages;  // of that and the ones before it
    Stages& at(std::int64_t of_step) { return stages[static_cast<std::size_t>(of_step % kSteps)]; }
    const Stages& at(std::int64_t of_step) const { return stages[static_cast<std::size_t>(of_step % kSteps)]; }
    const cuda::Event& latest() const { return at(std::max<std::int64_t>(0, step)).updated; }
    Buffer parameters, state[2];
    Buffer average;  // of all parameters, on each replica: they are gathered anyway, and averages then need no traffic
    Buffer blocks;   // how each part is updated; empty where all parts are updated alike
    std::vector<std::vector<Buffer>> received;   // [peer][root]: this replica's slices of that sum, bucket after bucket
    std::vector<std::int64_t> received_at;       // by bucket: where its slice begins in there
    Buffer mean;                                 // only where it is needed
    Buffer chunk_squares, factor;                // only where the norm is needed
    std::unique_ptr<CudaTensorUpdates> tensors;  // of whole tensors; null: each element by itself
    Buffer packed;                               // a bucket in 16 bits, where it travels so
  };

  Member& member(int rank) { return *members_[static_cast<std::size_t>(rank - here_.first)]; }
  const Member& member(int rank) const { return *members_[static_cast<std::size_t>(rank - here_.first)]; }
  nccl::Communicator& communicator(int rank) const { return nccl_->rank(rank - here_.first); }
  int device(int rank) const { return options_.devices[static_cast<std::size_t>(rank)]; }
  std::unique_ptr<Member> make_member(int rank, const ReducerConfig& config) const;
  std::unique_ptr<nccl::NcclGroup> make_communicators() const;
  /// The slices of some replicas, one after the other, as gather_state() sends them: visit(rank, slice).
  template <class Visit>
  void each_slice(Range replicas, Visit&& visit) const;
  void to_device(int rank, const Buffer& target, const float* from) const;
  void from_device(int rank, const float* source, std::int64_t count, float* to) const;
  void exchange(int rank, const StepPlan& plan, std::size_t b);
  void gather_slices(int rank, float* values, std::span<const std::vector<nccl::Slice>> groups);
  void meet_at_first(int rank);
  cuda::SumOrder order(int rank, const StepPlan& plan, std::size_t b);
  void reduce_in_order(int rank, const StepPlan& plan);
  void reduce_by_nccl(int rank, const StepPlan& plan);
  cuda::Target target(const Member& member, std::int64_t first) const;
  void reduce_range(Member& member, const cuda::SumOrder& order, const nccl::Slice& range);
  void decide(Member& member);
  void apply_range(Member& member, const nccl::Slice& range);
  void update_tensors(Member& member);
  void all_reduce(int rank, const Bucket& bucket, float* values);
  void wait(int rank, const cuda::Event& event) const;
  std::string why_late(int rank, std::chrono::nanoseconds waited) const;

  LocalGroup& group_;
  Watchdog* const watchdog_;
  std::int64_t floats_, chunks_;
  int state_buffers_;
  std::optional<double> clip_norm_;
  std::optional<LossScaling> loss_scaling_;
  bool needs_norm_;  // before anything is updated: gradients are clipped, or may have to be left out
  bool needs_mean_;  // likewise, or the optimizer looks at whole tensors
  Options options_;
  bool in_slices_;    // each replica updates its own, and has the optimizer's state of no others
  const int size_;    // replicas of the whole run
  const Range here_;  // those of this process
  std::vector<Bucket> buckets_;
  std::vector<std::vector<nccl::Slice>> slices_, slices_of_squares_;  // of all buckets; of their squares
  std::vector<std::unique_ptr<Member>> members_;                      // those of this process
  // The first process's, of optimizer state that is spread: the others' slices as they were gathered last.
  std::vector<std::vector<float>> gathered_;
  std::unique_ptr<nccl::NcclGroup> nccl_;  // last: what waits for others is given up before memory is
};

}  // namespace dptrain

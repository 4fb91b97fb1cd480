// Purpose: a replica on a GPU: one host thread that keeps the device's queues filled. See train/replica.h.
//   A step's way: where the dataset lies on the GPU, only its samples' ids go there; otherwise the loader's pinned
//   batches do, on the copy stream. The compute stream takes the step's number, the constants of its update and the
//   ids, runs the step as one recorded graph, and writes the losses to the host's memory. A few steps are under way at
//   a time, each with a slot of its own for what the host writes and reads, so that the device has work while the host
//   reads losses, or is away for a moment. Samples, which are large, have room for two: the copies of one step overlap
//   the kernels of the other. A slot keeps the assignment by which its step runs: a new one comes to it when that step
//   is over, and what was recorded goes then. In modes without common steps a micro-batch goes its way by itself: see
//   train/cuda/single_micro_batches.h.
// Thread safety: as train/replica.h says; stream(), computed() and gradients() may be read by other replicas' threads
//   between two barriers.
// Invariants: addresses never change, not with the assignment either, so that a recorded step can be replayed; what
//   changes from step to step is read from device memory.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "device/cuda/runtime.h"
#include "kernels/cuda/update.h"
#include "nn/model.h"
#include "train/cuda/cuda_lockstep.h"
#include "train/cuda/gradient_watch.h"
#include "train/cuda/resident_images.h"
#include "train/cuda/single_micro_batches.h"
#include "train/cuda/step_clock.h"
#include "train/cuda/stream_work.h"
#include "train/replica.h"

namespace dptrain {

namespace on_gpu {

/// Floats that a micro-batch takes in a step's buffer: libraries want tensors at multiples of 16 bytes, and whole cache
/// lines copy faster.
inline std::int64_t places(std::int64_t samples, std::int64_t elements) {
  constexpr std::int64_t kLine = 32;
  return (samples * elements + kLine - 1) / kLine * kLine;
}

}  // namespace on_gpu

class CudaReplica final : public Replica {
 public:
  /// That may be under way at a time: losses are read as many steps late, less one.
  static constexpr int kSteps = 4;

  /// The datasets in the device's memory, where they are there.
  struct Resident {
    std::shared_ptr<const ResidentImages> train, test;
  };
  CudaReplica(const Config& config, int device, Resident resident);
  ~CudaReplica() override;

  const ParameterTable& parameters() const override { return model_->parameters(); }
  void bind(const float* weights) override;
  void bind_host(const float* weights) override;
  const std::vector<float*>& gradients() const override { return gradient_views_; }
  Times run(const StepTask& task) override;
  bool needs_batches() const override { return !resident_.train; }
  Gradient gradient(const GradientTask& task) override;
  void assign(std::shared_ptr<const Assignment> assignment, std::int64_t step) override;
  double gradient_bound() const override { return watch_ ? watch_->bound() : 0; }
  std::optional<NotFinite> diagnose(const StepTask& task) override;
  /// None where the host decides what becomes of a step before its update.
  int lag() const override { return watch_ ? 0 : kSteps - 1; }
  double collect(std::int64_t step, std::vector<LossSum>& losses) override;
  std::optional<LossScale> loss_scale() const override { return collected_scale_; }
  std::string handicap() const override;
  bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) override;

  // For the reducers, which put their kernels behind the replica's.

  int device() const { return device_; }
  cudaStream_t stream() const { return compute_.get(); }
  /// What the coming step applies.
  void set_update(const StepUpdate& update) { update_ = update; }
  /// Its constants in device memory, of the step that ran last.
  const cuda::StepConstants* constants() const { return slot(latest_).constants(); }
  /// Reached when the gradients of the step that ran last are in their buffers.
  const cuda::Event& computed() const { return slot(latest_).computed; }
  /// `event` is reached when the first `floats` of this step's gradients are final, in each step from now on. In the
  /// order of `floats`.
  void mark_gradients(std::int64_t floats, cuda::Event& event) { marks_.push_back({floats, &event}); }
  /// How the host waits for the end of a step, instead of simply waiting: a reducer whose peers may be gone looks after
  /// them.
  void wait_with(std::function<void(const cuda::Event&)> wait) { wait_ = std::move(wait); }
  /// Where losses are scaled: the scale, which its reducer changes with each step, in device memory; otherwise null.
  LossScale* scale() const { return static_cast<LossScale*>(scale_.data()); }
  /// Before the first step.
  void set_scale(const LossScale& scale);
  /// As it is behind what is in line on stream(); waits.
  LossScale read_scale() const;
  /// Puts its way to the host in line, behind the end of the step that ran last: for collect().
  void send_scale();

  /// Calls `finish` where a step's gradients are in line, and records what it puts on stream() as part of the step.
  void finish_steps_with(std::function<void(const StepPlan&, const cuda::StepConstants*)> finish) {
    finish_ = std::move(finish);
  }

 private:
  /// Steps whose samples have room: every slot uses the same of them each time, for its recording reads them there.
  static constexpr int kBatches = 2;
  static_assert(kSteps % kBatches == 0);

  struct Slot {
    std::shared_ptr<const Assignment> assignment;  // of its latest step
    std::optional<StepClock> clock;                // where steps are measured
    // Of micro-batches; in the host's memory, which kernels write as well: a copy would hold the step up.
    Buffer losses;
    Buffer header, host_header;    // constants, ids and labels in one, because each copy costs the host time
    Buffer host_scale;             // of losses, after the step
    cuda::Event computed, scaled;  // scaled: that is there
    /// By piece of the full step, and of an epoch's last: one each where the model runs as a whole.
    std::array<std::vector<Recording>, 2> recordings;
    cuda::StepConstants* constants() const { return static_cast<cuda::StepConstants*>(header.data()); }
  };
  struct Mark {
    std::int64_t floats;
    cuda::Event* event;
  };
  struct TestBuffers {
    Buffer samples, labels, host_samples, host_labels;
    cuda::Event computed;
  };

  Slot& slot(std::int64_t step) { return slots_[static_cast<std::size_t>(step % kSteps)]; }
  const Slot& slot(std::int64_t step) const { return slots_[static_cast<std::size_t>(step % kSteps)]; }
  /// Of a step that has a slot: the latest ones.
  const StepPlan& plan(std::int64_t step) const { return slot(step).assignment->plan(step); }
  const ReplicaProgram& program(std::int64_t step) const {
    return plan(step).programs[static_cast<std::size_t>(config_.rank)];
  }
  float* samples(std::int64_t step) const { return samples_[static_cast<std::size_t>(step % kBatches)].floats(); }
  void prepare_steps();
  void allocate(Slot& slot);
  void take_assignment(Slot& slot) const;
  double load(std::int64_t step, Slot& slot);  // seconds spent waiting for data
  double load_batches(std::int64_t step, Slot& slot);
  void name_samples(std::int64_t step, Slot& slot);
  void release_batch();
  std::int64_t* ids(const Buffer& header) const;
  std::int32_t* labels(const Buffer& header) const;
  double compute(const StepTask& task, Slot& slot);  // seconds spent waiting for other replicas
  /// visit(instruction, input, loss) for each micro-batch of the step, and add(instruction) for each addition, in their
  /// order.
  template <class Visit, class Add>
  void each_instruction(std::int64_t step, const Slot& slot, Visit&& visit, Add&& add);
  void gather(const Model::Input& input);
  void enqueue_whole(std::int64_t step, Slot& slot);
  void enqueue_piece(int piece, std::int64_t step, Slot& slot);
  void watch(const StepTask& task);
  void add_floats(const ReplicaProgram::Instruction& addition, std::int64_t first, std::int64_t count);

  Config config_;
  int device_;
  std::shared_ptr<const Assignment> assignment_;  // of the coming steps
  cuda::Stream copy_, compute_;
  Buffer scale_;  // of losses, empty where they are not scaled
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  WeightVersions versions_;
  std::vector<Buffer> gradients_;
  std::vector<float*> gradient_views_;
  std::array<Slot, kSteps> slots_;
  std::array<Buffer, kBatches> samples_;  // of all micro-batches of a step
  Resident resident_;
  Loader::Source source_;           // where the training set is resident; otherwise the loader asks it
  std::unique_ptr<Loader> loader_;  // otherwise
  std::int64_t step_samples_ = 0;   // of this replica, at most
  cuda::Event batch_copied_;        // the latest batch is on the device, and the loader may have its slot back
  bool batch_lent_ = false;
  StepUpdate update_;
  std::function<void(const StepPlan&, const cuda::StepConstants*)> finish_;
  std::function<void(const cuda::Event&)> wait_ = [](const cuda::Event& event) { event.synchronize(); };
  std::vector<Mark> marks_;
  std::int64_t latest_ = 0;
  std::optional<LossScale> collected_scale_;
  double waited_ = 0;  // seconds in collect() since the latest run()
  Buffer began_;       // the device's time before a piece of a step; where a drill slows it down
  std::unique_ptr<SingleMicroBatches> single_;
  std::unique_ptr<CudaLockstep> lockstep_;  // where micro-batches run in pieces
  std::optional<GradientWatch> watch_;      // where the host decides what becomes of a step

  std::int64_t chunk_;  // of evaluation
  std::array<TestBuffers, 2> test_;
  Buffer test_sums_;  // in the host's memory
  cuda::Event tested_;
};

template <class Visit, class Add>
void CudaReplica::each_instruction(std::int64_t step, const Slot& slot, Visit&& visit, Add&& add) {
  const StepPlan& plan = this->plan(step);
  const std::int64_t elements = config_.data.train->shape().elements();
  std::int64_t offset = 0, place = 0, losses = 0;
  for (const auto& instruction : program(step).instructions) {
    if (instruction.kind == ReplicaProgram::Instruction::Kind::add) {
      add(instruction);
      continue;
    }
    const std::int64_t count = plan.micro_batches[static_cast<std::size_t>(instruction.micro_batch)].count;
    visit(instruction,
          Model::Input{.batch = count,
                       .ids = ids(slot.header) + offset,
                       .x = samples(step) + place,
                       .labels = labels(slot.header) + offset},
          as<LossSum>(slot.losses) + losses++);
    offset += count;
    place += on_gpu::places(count, elements);
  }
}

}  // namespace dptrain

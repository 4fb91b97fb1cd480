// Purpose: a replica's part of a step where the model needs sums over all micro-batches of it: they run piece by piece,
//   each with memory of its own, and between two pieces the replicas meet. Thread safety: the replica's thread.
// Invariants: gradients lie where the replica's program of the step puts them, and are added in its order, piece by
//   piece, to the same bits; every replica comes to every meeting, with or without micro-batches.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "nn/model.h"
#include "train/replica.h"
#include "train/step_merge.h"

namespace dptrain {

class Lockstep {
 public:
  /// For `most` micro-batches at a time. `model`, which is prepared, takes the first; the others get their own.
  /// `config`, `kernels` and `model` outlive it.
  Lockstep(const Replica::Config& config, Kernels& kernels, Model& model, int most);

  void bind(const float* weights);
  int most() const { return static_cast<int>(lanes_.size()); }
  /// The k-th micro-batch of the coming step, which is copied.
  void take(int k, const Batch& batch);
  /// All of the replica's program for the step; losses by micro-batch of the step.
  void run(const StepTask& task, const StepPlan& plan, const std::vector<float*>& gradients,
           std::vector<LossSum>& losses, Replica::Times& times);
  /// The same once more, with the micro-batches that it has: what was not finite first. Where that came from another
  /// replica's micro-batch, it is for that one to say. Spoils `gradient`.
  std::optional<NotFinite> diagnose(const StepTask& task, const StepPlan& plan, float* gradient);

 private:
  using Instruction = ReplicaProgram::Instruction;

  struct Lane {
    Model* model = nullptr;
    std::unique_ptr<Model> owned;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> labels;
    Buffer samples;
    std::int64_t count = 0;
    LossSum loss;
  };

  /// Floats [first, last) of the gradients, which a piece has finished.
  struct Finished {
    std::int64_t first, last;
  };
  /// Calls trained(piece, k, instruction, finished) for each micro-batch that is done with a piece, added(instruction,
  /// finished) for each addition, and met(piece) after a meeting. `target` is where an instruction's gradient goes.
  template <class Target, class Trained, class Added, class Met>
  void pass(const StepTask& task, const StepPlan& plan, const Target& target, const Trained& trained,
            const Added& added, const Met& met);
  const Replica::Config& config_;
  StepExchange& exchange_;
  std::vector<Lane> lanes_;
  StepMerge merge_;
  std::vector<float> whole_;  // what all micro-batches have measured
};

}  // namespace dptrain

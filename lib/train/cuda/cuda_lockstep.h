// Purpose: a GPU's part of a step where the model needs sums over all micro-batches of it: they run piece by piece,
//   each with activations of its own, and between two pieces the replicas meet on the host, to which what they measured
//   is copied. See train/cpu/lockstep.h for the CPU's.
// Thread safety: the replica's thread. Invariants: addresses never change, so that each piece can be recorded; every
//   replica comes to every meeting, with or without micro-batches.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "nn/model.h"
#include "train/cuda/stream_work.h"
#include "train/replica.h"
#include "train/step_merge.h"

namespace dptrain {

class CudaLockstep {
 public:
  /// For `most` micro-batches at a time, on the current device. `model`, which is prepared, takes the first; the others
  /// get their own. `config`, `kernels` and `model` outlive it.
  CudaLockstep(const Replica::Config& config, Kernels& kernels, Model& model, int most, cudaStream_t stream);

  int pieces() const { return models_.front()->pieces(); }
  void bind(const float* weights);

  /// What the pieces of a micro-batch read and write.
  struct Lane {
    Model::Input input;
    Model::Output output;
  };
  /// Puts what a piece begins with in line, and the k-th micro-batch's part of it, and what it ends with.
  void begin(int piece);
  void enqueue(int piece, int k, const Model::Step& step, const Lane& lane);
  void end(int piece);
  /// Waits for the piece, and for the others; seconds waited for those.
  double meet(int piece, const StepPlan& plan, const std::function<void(const cuda::Event&)>& wait);
  /// So many of the first floats of the gradients are final behind a piece.
  std::int64_t final_floats(int piece) const { return models_.front()->final_floats(piece); }

 private:
  float* part(const Buffer& parts, int k) const { return parts.floats() + k * floats_; }

  const Replica::Config& config_;
  StepExchange& exchange_;
  cudaStream_t stream_;
  std::int64_t floats_;         // of a measurement, at most
  std::vector<Model*> models_;  // by place among the replica's micro-batches
  std::vector<std::unique_ptr<Model>> owned_;
  StepMerge merge_;
  Buffer whole_, host_whole_;  // what all micro-batches have measured
  Buffer parts_, host_parts_;  // what each of the replica's has
  cuda::Event measured_;
};

}  // namespace dptrain

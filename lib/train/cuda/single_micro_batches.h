// Purpose: micro-batches by themselves on a GPU, for modes in which replicas do not take steps together. Weights come
//   from the host's memory where they are others than those on the GPU, the gradient goes back there, and the host
//   waits for it. In between one recorded graph for each size.
// Thread safety: its replica's thread. Invariants: addresses on the device never change, and what changes from one
//   micro-batch to the next (step, ids, labels, weights) is read from there. Nothing is in line for the device when a
//   call has returned.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/sampler.h"
#include "nn/model.h"
#include "train/cuda/resident_images.h"
#include "train/cuda/stream_work.h"
#include "train/replica.h"

namespace dptrain {

class SingleMicroBatches {
 public:
  /// How the host waits.
  using Wait = std::function<void(const cuda::Event&)>;

  /// Of Config::single_sizes, on the current device; all outlive it. `train` is null where the samples come from the
  /// host.
  SingleMicroBatches(const Replica::Config& config, Model& model, const ResidentImages* train, WeightVersions& versions,
                     cudaStream_t stream);

  /// Replica::gradient().
  Replica::Gradient run(const GradientTask& task, const Wait& wait);
  /// The model reads the weights there from now on, as they are now.
  void bind(const float* weights, const Wait& wait);
  /// See Recording::refused().
  std::string refused() const;

 private:
  struct OfSize {
    std::int64_t samples;
    Recording recording;
  };

  std::int64_t* ids(const Buffer& header) const;
  std::int32_t* labels(const Buffer& header) const;
  const float* load(const GradientTask& task);
  void upload(const float* weights);
  void enqueue(const GradientTask& task);

  const Replica::Config& config_;
  Model& model_;
  const ResidentImages* train_;
  WeightVersions& versions_;
  cudaStream_t stream_;
  Sampler sampler_;
  std::int64_t most_;  // samples
  std::vector<OfSize> sizes_;
  Buffer weights_, gradient_;
  std::optional<std::int64_t> version_;  // of weights_; empty where no task has named it
  Buffer header_, host_header_;          // the step, ids and labels in one, because each copy costs the host time
  Buffer samples_, host_samples_;
  Buffer loss_;  // in the host's memory, which kernels write as well
  cuda::Event done_;
};

}  // namespace dptrain

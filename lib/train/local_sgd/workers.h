// Purpose: the logical workers of local SGD in the host's memory: each with weights and optimizer state of its own, the average
//   that they set out from, and the outer optimizer. How they are averaged: McMahan et al., "Communication-efficient learning of
//   deep networks from decentralized data", AISTATS 2017; with an outer optimizer: Douillard et al., "DiLoCo: distributed
//   low-communication training of language models", 2023.
// Thread safety: between two barriers different workers belong to different threads, or different chunks to average().
// Invariants: an element's bits do not depend on who computes it. Between average() and the next update() all weights are the same.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "device/buffer.h"
#include "kernels/update_ranges.h"
#include "optim/optimizer.h"
#include "train/micro_batches.h"
#include "train/weights_holder.h"

namespace dptrain {

class Workers final : public WeightsHolder {
 public:
  using Allocate = std::function<Buffer(std::size_t bytes)>;
  /// Flat buffers of `floats`, treated as `ranges` says, none of them as a whole; all zero. And `state_buffers` of as many a worker.
  /// Weights lie where `allocate` says: in pinned memory, say, for GPUs.
  Workers(const LocalSgdSpec& spec, std::int64_t floats, int state_buffers, UpdateRanges ranges = {},
          const Allocate& allocate = &Buffer::host);

  int count() const { return static_cast<int>(workers_.size()); }
  const float* weights(int worker) const { return workers_[static_cast<std::size_t>(worker)].weights.floats(); }
  /// The average: what is evaluated, saved, and the result.
  float* average() const { return average_.floats(); }
  /// Buffer k of a worker's optimizer state.
  float* state(int worker, int k) const { return workers_[static_cast<std::size_t>(worker)].state[k].floats(); }
  /// The outer optimizer; null where there is none. Its state buffers, as above.
  const Optimizer* outer() const { return outer_.get(); }
  float* outer_state(int k) const { return outer_state_[k].floats(); }

  /// As a holder of the run's weights: the average, and the optimizer state of worker 0.
  const float* parameters(int) const override { return average_.floats(); }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* from) override;
  void save_state(int k, float* to) const override;

  /// Every worker at the average. Where all have one state, that of worker 0.
  void set_out(bool with_state_of_first);

  /// One local step: `gradient` is a sum over `samples`, at least 1, and is spent. Errors: none; what is not finite is the caller's.
  void update(int worker, const UpdateRule& rule, float* gradient, std::int64_t samples,
              std::optional<double> clip_norm);

  /// Chunks of GradientReducer::kChunk floats.
  int chunks() const;
  /// Of these chunks: the average becomes the workers' mean, weighted by their samples, or where the outer optimizer takes it
  /// from the last average (statistics are their mean); then every worker is at the average, its state averaged, kept or zero. `averages` were made before.
  void average(Range chunks, std::span<const std::int64_t> samples, std::int64_t averages);

 private:
  struct Worker {
    Buffer weights, state[2];
  };
  /// The outer optimizer's step on a chunk, towards the workers' `mean`, which is spent.
  void outer_step(const UpdateRule& rule, std::int64_t offset, std::span<float> mean);
  void average_state(int k, std::int64_t offset, std::int64_t count, std::span<const std::int64_t> samples);
  std::span<float> part(const Buffer& buffer, std::int64_t offset, std::int64_t count) const;

  WorkerState state_rule_;
  std::int64_t floats_;
  int state_buffers_;
  UpdateRanges ranges_;
  std::unique_ptr<Optimizer> outer_;
  double outer_lr_ = 0;
  std::vector<Worker> workers_;
  Buffer average_, outer_state_[2];
};

}  // namespace dptrain

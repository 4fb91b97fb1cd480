// Purpose: the logical workers of local SGD in the host's memory: each with weights and optimizer state of its own, the
//   average that they set out from, and the outer optimizer. How they are averaged: McMahan et al.,
//   "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017; with an outer optimizer:
//   Douillard et al., "DiLoCo: distributed low-communication training of language models", 2023.
// Thread safety: between two barriers different workers belong to different threads, or different chunks to
//   take_average().
// Invariants: an element's bits do not depend on who computes it. Between take_average() and the next update() all
//   weights are the same.
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

struct WorkersConfig {
  const LocalSgdSpec& spec;
  std::int64_t floats = 0;
  int state_buffers = 0;
  UpdateRanges ranges{};        ///< of the floats, none of them as a whole
  std::optional<Range> here{};  ///< the workers whose weights and states lie in this memory; empty: all
  bool writes = true;           ///< load() and its like write; otherwise another process that shares the memory does
  /// Zeroed memory for weights (pinned, say, for GPUs), and for states.
  std::function<Buffer(std::size_t bytes)> weights = &Buffer::host, states = &Buffer::host;
};

class Workers final : public WeightsHolder {
 public:
  explicit Workers(const WorkersConfig& config);

  int count() const { return count_; }
  std::int64_t floats() const { return floats_; }
  int state_buffers() const { return state_buffers_; }
  WorkerState state_rule() const { return state_rule_; }
  Range here() const { return here_; }
  const float* weights(int worker) const { return values(worker, 0); }
  /// The average: what is evaluated, saved, and the result.
  float* average_weights() const { return weights_.floats(); }
  /// Buffer k of a worker's optimizer state.
  float* state(int worker, int k) const { return values(worker, 1 + k); }
  /// The outer optimizer; null where there is none. Its state buffers, as above.
  const std::optional<OptimizerSpec>& outer() const { return outer_; }
  float* outer_state(int k) const { return states_.floats() + k * room_; }

  /// As a holder of the run's weights: the average, and the state of the first worker here, which in the first process
  /// is worker 0.
  const float* parameters(int) const override { return average_weights(); }
  void load(const float* parameters) override;
  void save(float* parameters) const override;
  void load_state(int k, const float* from) override;
  void save_state(int k, float* to) const override;

  /// Writes one of these vectors, where it is this process that does.
  void load(float* to, const float* from) const;

  /// Every worker at the average. Where all have one state, that of the first.
  void set_out(bool with_state_of_first);

  /// One local step: `gradient` is a sum over `samples`, at least 1, and is spent. Errors: none; what is not finite is
  /// the caller's.
  void update(int worker, const UpdateRule& rule, float* gradient, std::int64_t samples,
              std::optional<double> clip_norm);

  /// Chunks of GradientReducer::kChunk floats.
  int chunks() const;
  /// What each worker has of its own and an average is taken of: its weights, number 0, and where the spec says so its
  /// states. The others are its states too.
  int averaged() const { return state_rule_ == WorkerState::average ? 1 + state_buffers_ : 1; }
  float* values(int worker, int which) const;
  /// Of floats from `offset` on, a chunk of them at most: the average becomes the workers' mean, weighted by their
  /// samples, or where the outer optimizer takes it from the last average (statistics are their mean); then every
  /// worker here is at the average, its state averaged, kept or zero. `averages` were made before. The mean is spent.
  void take(int which, std::int64_t offset, std::span<float> mean, std::int64_t averages);
  /// All of it for these chunks, where all workers are here.
  void take_average(Range chunks, std::span<const std::int64_t> samples, std::int64_t averages);

 private:
  /// The outer optimizer's step on a chunk, towards the workers' `mean`, which is spent.
  void outer_step(const UpdateRule& rule, std::int64_t offset, std::span<float> mean);
  std::span<float> part(float* values, std::int64_t offset, std::int64_t count) const;

  const WorkerState state_rule_;
  const std::int64_t floats_, room_;  // room_: from one of several in a block to the next
  const int state_buffers_, count_;
  const Range here_;
  const bool writes_;
  UpdateRanges ranges_;
  std::optional<OptimizerSpec> outer_;
  double outer_lr_ = 0;
  Buffer weights_, states_;  // the average, then the workers' weights; the outer optimizer's states, then the workers'
};

}  // namespace dptrain

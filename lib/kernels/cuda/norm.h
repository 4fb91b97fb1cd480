// Purpose: normalisation in a GPU's memory: moments over sets of elements, their use, and gradients.
// Thread safety, invariants and errors: as in elementwise.h. Sums are over chunks of 64 in index order, then over
//   chunks of those, and so on.
#pragma once

#include <cstdint>

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

/// What is normalised together, a set: a channel of all samples, or a group of channels of one sample.
struct NormShape {
  std::int64_t samples = 0, channels = 0, pixels = 0;
  std::int64_t groups = 0;  ///< of each sample; 0: a set is a channel
  bool channels_last = true;
  ElementType type = ElementType::float32;  ///< of x, y and their gradients; all else is fp32

  constexpr std::int64_t sets() const { return groups == 0 ? channels : samples * groups; }
  constexpr std::int64_t elements() const { return samples * channels * pixels; }
  constexpr std::int64_t of_set() const { return elements() / sets(); }
};

struct Pair {
  float first = 0, second = 0;
};

/// What forward computes an element from, and backward again: y = (x - mean) inverse weight + bias, then perhaps a
/// ReLU.
struct NormForward {
  NormShape shape;
  const Pair* statistics = nullptr;  ///< by set: mean, 1 / deviation
  const float* weight = nullptr;     ///< by channel; null: 1
  const float* bias = nullptr;       ///< by channel; null: 0
  bool relu = false;
};

/// Entries of scratch that moments() and gradient_sums() need.
std::int64_t norm_scratch_entries(const NormShape& shape);

/// Of a norm over the step, whose moments are those of kernels/moments.h: how many values, then means, then squares.
void step_moments(const Context& context, const NormShape& shape, const Pair* moments, float* step);
/// statistics_of_moments() of those.
void statistics_of_step(const Context& context, std::int64_t channels, const float* step, float epsilon,
                        Pair* statistics);
/// running_sums() of those, for so many samples.
void running_sums_of_step(const Context& context, const NormShape& shape, const float* step, float* mean,
                          float* variance);
/// Channels' sums one behind the other, and back.
void spread_pairs(const Context& context, std::int64_t channels, const Pair* pairs, float* sums);
void gather_pairs(const Context& context, std::int64_t channels, const float* sums, Pair* pairs);

/// By set the mean, and the sum of the squared distances to it.
void moments(const Context& context, const NormShape& shape, const void* x, Pair* scratch, Pair* moments);
/// statistics[s] = (mean, 1 / sqrt(squares / of_set + epsilon))
void statistics_of_moments(const Context& context, const NormShape& shape, const Pair* moments, float epsilon,
                           Pair* statistics);
/// statistics[s] = (mean[s], 1 / sqrt(variance[s] + epsilon))
void statistics_of_running(const Context& context, std::int64_t channels, const float* mean, const float* variance,
                           float epsilon, Pair* statistics);
/// Mean and unbiased variance times the samples.
void running_sums(const Context& context, const NormShape& shape, const Pair* moments, float* mean, float* variance);

void normalise(const Context& context, const NormForward& forward, const void* x, void* y);

/// By set of `over` the sums of dy and dy (x - mean) inverse, each times the weight where `weighted`; dy counts as zero
/// where the ReLU gave zero.
void gradient_sums(const Context& context, const NormForward& forward, const NormShape& over, bool weighted,
                   const void* x, const void* dy, Pair* scratch, Pair* sums);
/// Channels' sums as gradients; null: not wanted.
void parameter_gradients(const Context& context, std::int64_t channels, const Pair* sums, float* weight, float* bias);
/// `sums` by set; those of channels are not weighted, those of groups are. They are of shape.of_set() values each, or
/// of *step_count. dx may be dy.
void norm_backward(const Context& context, const NormForward& forward, const Pair* sums, const void* x, const void* dy,
                   void* dx, const float* step_count = nullptr);

}  // namespace dptrain::cuda

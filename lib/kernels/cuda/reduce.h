// Purpose: the second half of a step on flat buffers in the memory of a GPU: additions of gradient sums, the tree over the
//   replicas' sums, the mean, clipping by global norm and the update. What changes from step to step lies in device memory
//   (StepConstants), so that a recorded step can be replayed.
// Thread safety: any host thread; work is ordered by the stream. Invariants: the host does not wait; an element's result does
//   not depend on the range that it is computed in; the scalar maths is that of the CPU (kernels/update_rules.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/update_rules.h"

namespace dptrain::cuda {

/// What the host writes for each step and the kernels read.
struct StepConstants {
  static constexpr std::size_t kRuleBytes = 64;
  std::int64_t step = 0;                      ///< its number, for draws
  alignas(16) unsigned char rule[kRuleBytes];  ///< the alternative of UpdateRule that the run uses, as bytes
};
StepConstants step_constants(std::int64_t step, const UpdateRule& rule);

/// A CombineProgram in device memory: postfix order over leaves, kAdd adds the two on top.
struct GradientTree {
  static constexpr int kAdd = -1, kDeepest = 32;
  const float* const* leaves = nullptr;
  const int* postfix = nullptr;
  int length = 0;
};

/// Parameters and optimizer state as flat buffers; state that the rule does not use is null.
struct FlatState {
  float* parameters = nullptr;
  float* state[2] = {nullptr, nullptr};
};

/// target[i] += other[i]
void add(std::int64_t count, const float* other, float* target, cudaStream_t stream);

/// For the floats [first, first + count): the tree's sum, divided by `samples`, and the update by `rule`'s kind with the
/// constants of the step.
void reduce_and_update(const GradientTree& tree, float samples, std::int64_t first, std::int64_t count,
                       const UpdateRule& kind, const StepConstants* constants, const FlatState& state,
                       cudaStream_t stream);

/// With clipping the same takes two passes, because the norm needs all floats: the mean of a range of whole chunks and the
/// sum of squares of each of its chunks (in index order, in double) ...
void reduce_to_mean(const GradientTree& tree, float samples, std::int64_t first, std::int64_t count, std::int64_t chunk,
                    float* mean, double* chunk_squares, cudaStream_t stream);
/// ... the factor from the squares of all `chunks`, added in a fixed order; `scratch` holds norm_scratch(chunks) doubles ...
void find_clip_factor(const double* chunk_squares, std::int64_t chunks, double max_norm, double* scratch, float* factor,
                      cudaStream_t stream);
std::int64_t norm_scratch(std::int64_t chunks);
/// ... and the update of a range from mean * factor.
void clip_and_update(const float* mean, const float* factor, std::int64_t first, std::int64_t count,
                     const UpdateRule& kind, const StepConstants* constants, const FlatState& state,
                     cudaStream_t stream);

}  // namespace dptrain::cuda

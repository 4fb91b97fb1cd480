// Purpose: the end of a step over flat buffers in a GPU's memory: gradient sums added in the order of the tree, divided
//   by the number of samples, clipped, and applied by an update rule. The same scalar functors and the same order of
//   operations as on the CPU, so the same bits (the build keeps contraction off on both).
// Thread safety: any host thread; work is ordered by the stream. Invariants: an element's result depends on that
//   element alone, and norms are over fixed chunks in index order. What changes from step to step is read from the
//   device's memory, so that a step can be replayed from a graph. The host does not wait. Errors: Error(failed) with
//   CUDA's reason where a launch is refused.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "kernels/loss_scale.h"
#include "kernels/update_ranges.h"
#include "kernels/update_rules.h"

namespace dptrain::cuda {

/// The rules of single elements, and lars, lamb and muon, whose tensors go the way of kernels/cuda/tensor_update.h.
enum class RuleKind { sgd, momentum, adam, rmsprop, rmsprop_momentum, adagrad, lars, lamb, muon };

/// What changes from step to step; in the device's memory when kernels read it.
struct StepConstants {
  std::int64_t step = 0;  ///< its number, for draws
  float samples = 1;      ///< the divisor
  SgdRule sgd;            ///< of the rules the one in use is set
  MomentumRule momentum;
  AdamRule adam;
  RmspropRule rmsprop;
  RmspropMomentumRule rmsprop_momentum;
  AdagradRule adagrad;
  LarsRule lars;
  LambRule lamb;
  MuonRule muon;
  AverageRule average;
};
StepConstants step_constants(std::int64_t step, const StepUpdate& update, float samples);
RuleKind kind_of(const UpdateRule& rule);

/// Which gradient sums are added in which order, in postfix notation as in CombineProgram.
struct SumOrder {
  static constexpr int kMostLeaves = 64, kDeepest = 16;
  static constexpr std::int8_t kAdd = -1;
  const float* leaves[kMostLeaves] = {};
  std::int8_t postfix[2 * kMostLeaves - 1] = {};  ///< index into leaves, or kAdd: add the two on top
  int length = 0;                                 ///< of postfix
};

/// The unit of norms: see GradientReducer.
constexpr std::int64_t kNormChunk = 1024;

/// The flat buffer's floats in blocks, and how each is treated, in the device's memory; null: all are trained and
/// decay. For `count` floats from one on that begins a block, those of ceil(count / kUpdateBlock) blocks.
using Blocks = const UpdateBlock*;
/// That table on the host, empty where it would be null; `floats` is the flat buffer's length.
std::vector<UpdateBlock> update_blocks(const UpdateRanges& ranges, std::int64_t floats);

/// The way to 16 bits, rounded to the nearest, and back.
void pack_bf16(const float* values, std::int64_t count, void* packed, cudaStream_t stream);
void unpack_bf16(const void* packed, std::int64_t count, float* values, cudaStream_t stream);

/// target[i] += other[i].
void add(float* target, const float* other, std::int64_t count, cudaStream_t stream);

/// mean[i] = (sum of the leaves' elements i in their order) / step->samples; where there is a `scale`, what is trained
/// is also divided by its factor.
void mean_of_sums(const SumOrder& order, const StepConstants* step, std::int64_t count, float* mean,
                  cudaStream_t stream, Blocks blocks = nullptr, const LossScale* scale = nullptr);
/// The same, and squares[k] = the sum of the squares of what is trained in chunk k, ceil(count / kNormChunk) of them.
void mean_and_squares(const SumOrder& order, const StepConstants* step, std::int64_t count, float* mean,
                      double* squares, cudaStream_t stream, Blocks blocks = nullptr, const LossScale* scale = nullptr);
/// *factor = clip_factor() for the norm whose square the chunks' squares add up to.
void norm_to_clip_factor(const double* squares, std::int64_t chunks, double max_norm, float* factor,
                         cudaStream_t stream);
/// The same, and what becomes of the step: squares of floats do not overflow as doubles, so their sum is finite where
/// every gradient is. An infinite max_norm clips nothing.
void decide_step(const double* squares, std::int64_t chunks, double max_norm, const LossScaleRule& rule, float* factor,
                 LossScale* scale, cudaStream_t stream);

/// The flat buffers that an update changes, and how; state buffers that the rule does not use may be null.
struct Target {
  float *parameters, *state0, *state1;
  Blocks blocks = nullptr;
  float* average = nullptr;          ///< follows the parameters, where there is one
  const LossScale* scale = nullptr;  ///< where it says that the step does not apply, nothing changes
};

/// One update of `count` elements, each gradient that is trained times *clip_factor first where that is not null.
void apply_update(RuleKind kind, const StepConstants* step, const float* clip_factor, std::int64_t count,
                  const float* gradients, const Target& target, cudaStream_t stream);
/// The moving average of `count` parameters follows them, by itself, unless `scale` says that the step does not apply.
void follow(const StepConstants* step, std::int64_t count, float* average, const float* parameters,
            const LossScale* scale, cudaStream_t stream);
/// mean_of_sums() and apply_update() in one pass over memory, without clipping.
void combine_and_update(RuleKind kind, const StepConstants* step, const SumOrder& order, std::int64_t count,
                        const Target& target, cudaStream_t stream);

}  // namespace dptrain::cuda

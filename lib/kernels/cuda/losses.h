// Purpose: losses with their gradients in a GPU's memory. Thread safety, invariants and errors: as in elementwise.h.
//   The sum is in an order that depends on the number of samples alone. See Kernels for what the functions do.
#pragma once

#include <cstdint>

#include "kernels/cuda/operations.h"
#include "kernels/loss_scale.h"
#include "kernels/loss_sum.h"

namespace dptrain::cuda {

/// What a loss needs besides: of a fixed size, because a loss is not told beforehand how large batches will be. A
/// larger batch is summed piece by piece.
struct LossScratch {
  static constexpr std::int64_t kSamples = 16384, kChunk = 64;
  static constexpr std::int64_t kEntries = kSamples + kSamples / kChunk;
  LossSum* samples = nullptr;        ///< kEntries: those of samples, then those of chunks
  const LossScale* scale = nullptr;  ///< its factor multiplies gradients; null: they are as they are
};

void cross_entropy(const Context& context, const LossScratch& scratch, const float* logits, const std::int32_t* labels,
                   std::int64_t samples, std::int64_t classes, float smoothing, float* gradient, LossSum* sum);
void mean_squared_error(const Context& context, const LossScratch& scratch, const float* outputs,
                        const std::int32_t* labels, std::int64_t samples, std::int64_t classes, float* gradient,
                        LossSum* sum);

}  // namespace dptrain::cuda

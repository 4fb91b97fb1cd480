// Purpose: batch norm of tensors whose channels come last, in two kernels forward and two backward.
// Thread safety, invariants and errors: as in norm.h; sums are over the spans of RowCut, in order.
#pragma once

#include "kernels/cuda/norm.h"

namespace dptrain::cuda {

/// Whether these are for a shape: its sets are channels, and they come last.
constexpr bool normalises_rows(const NormShape& shape) {
  return shape.groups == 0 && shape.channels_last;
}

/// Pairs of scratch that both directions need.
std::int64_t row_norm_scratch_entries(const NormShape& shape);

/// `moments` and `statistics`, by channel: as moments() and statistics_of_moments() of norm.h have them; then
/// normalise(). forward.statistics is `statistics`. Not in place.
void normalise_rows(const Context& context, const NormForward& forward, float epsilon, const void* x, Pair* scratch,
                    Pair* moments, Pair* statistics, void* y);

/// What backward writes beside dx; null: not wanted.
struct RowGradients {
  float *weight = nullptr, *bias = nullptr;
  float *mean = nullptr, *variance = nullptr;  ///< as running_sums() of norm.h has them
};
/// gradient_sums(), parameter_gradients(), running_sums() and norm_backward() of norm.h. dx may be dy, or null.
void normalise_rows_backward(const Context& context, const NormForward& forward, const Pair* moments, const void* x,
                             const void* dy, Pair* scratch, const RowGradients& gradients, void* dx);

}  // namespace dptrain::cuda

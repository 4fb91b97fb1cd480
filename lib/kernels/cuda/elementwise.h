// Purpose: the project's own kernels on whole tensors in a GPU's memory: activations, softmax, changes of layout and
//   of type.
// Thread safety: the thread of the context. Invariants: work is enqueued on the context's stream and the host does not
//   wait. Tensors have the type that is named; it is computed in fp32. Sums are over fixed chunks in index order. All
//   pointers are to the device's memory. Errors: Error(failed) where a launch is refused.
#pragma once

#include <cstdint>

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

/// y[i] = activation(x[i]), in place or not.
void activate(const Context& context, const ActivationSpec& spec, ElementType type, std::int64_t count, const void* x,
              void* y);
/// dx[i] = dy[i] activation'; `from` is x where backward_needs_input(spec), otherwise y. In place or not.
void activate_backward(const Context& context, const ActivationSpec& spec, ElementType type, std::int64_t count,
                       const void* from, const void* dy, void* dx);
/// y[r, c] = activation(y[r, c] + bias[c]) of a (rows, columns) matrix; null: without it.
void add_bias_and_activate(const Context& context, const float* bias, const ActivationSpec* activation,
                           std::int64_t rows, std::int64_t columns, ElementType type, void* y);

/// Over the middle axis of a (outer, classes, inner) tensor of floats.
void softmax(const Context& context, std::int64_t outer, std::int64_t classes, std::int64_t inner, const float* x,
             float* y);
/// dx = y (dy - sum of y dy over the classes).
void softmax_backward(const Context& context, std::int64_t outer, std::int64_t classes, std::int64_t inner,
                      const float* y, const float* dy, float* dx);

/// (batch, rows, columns) -> (batch, columns, rows): with rows = pixels and columns = channels channels_last becomes
/// plain, and the other way round. Not in place.
void transpose(const Context& context, std::int64_t batch, std::int64_t rows, std::int64_t columns,
               ElementType from_type, const void* from, ElementType to_type, void* to);
/// The same values in another type.
void convert(const Context& context, std::int64_t count, ElementType from_type, const void* from, ElementType to_type,
             void* to);

}  // namespace dptrain::cuda

// Purpose: max and average pooling of images in a GPU's memory, plain or channels_last.
// Thread safety, invariants and errors: as in elementwise.h. Backward writes each element of the input once: the
//   gradients of its windows, added in the order of the windows.
#pragma once

#include <cstdint>

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

/// Images as (outer, height, width, inner): plain ones with outer = samples x channels and inner = 1, channels_last
/// ones with outer = samples and inner = channels.
struct PoolShape {
  std::int64_t outer = 0, inner = 0;
  std::int64_t height = 0, width = 0;  ///< of the input
  std::int64_t out_height = 0, out_width = 0;
  std::int64_t kernel_height = 1, kernel_width = 1;
  std::int64_t stride_height = 1, stride_width = 1;
  std::int64_t padding_height = 0, padding_width = 0;

  ElementType type = ElementType::float32;

  constexpr std::int64_t inputs() const { return outer * height * width * inner; }
  constexpr std::int64_t outputs() const { return outer * out_height * out_width * inner; }
  /// No element of the input is in two windows, and all of a window are elements of the input.
  constexpr bool apart() const {
    return kernel_height <= stride_height && kernel_width <= stride_width && padding_height == 0 && padding_width == 0;
  }
  /// So few of them that a thread may write all that lie around a window.
  constexpr bool small() const { return stride_height * stride_width <= 16; }
};

/// `chosen` receives for each output the pixel (row x width + column) of its maximum, the first one where several are
/// equal. A NaN is the maximum of its windows.
void max_pool(const Context& context, const PoolShape& shape, const void* x, void* y, std::int32_t* chosen);
void max_pool_backward(const Context& context, const PoolShape& shape, const void* dy, const std::int32_t* chosen,
                       void* dx);
/// Padding counts as zeros.
void average_pool(const Context& context, const PoolShape& shape, const void* x, void* y);
void average_pool_backward(const Context& context, const PoolShape& shape, const void* dy, void* dx);

}  // namespace dptrain::cuda

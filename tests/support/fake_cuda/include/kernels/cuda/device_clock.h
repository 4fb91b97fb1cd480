// The fake's time, for bodies of kernels. It stands in for lib/kernels/cuda/device_clock.h by coming first in the
// include path.
#pragma once

#include <cstdint>

#include "support/fake_cuda/fake_cuda.h"

#define DPTRAIN_DEVICE

namespace dptrain::cuda {

inline std::uint64_t device_nanoseconds() {
  return static_cast<std::uint64_t>(fake_cuda::read_clock());
}

}  // namespace dptrain::cuda

// The GPU of a test: CUDA's, or the one that the fake makes believe.
#pragma once

#include <doctest/doctest.h>

#include "device/cuda/runtime.h"

namespace dptrain::testing {

inline bool gpu_is_there() {
  const cuda::Devices devices = cuda::devices();
  if (!devices.all.empty()) return true;
  MESSAGE("skipped: " << devices.problem);
  return false;
}

/// From the device's memory, behind all that was enqueued on `stream`.
inline void read_back(const cuda::Stream& stream, const void* device, std::size_t bytes, void* host) {
  cuda::check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream.get()), "cudaMemcpyAsync");
  stream.synchronize();
}

}  // namespace dptrain::testing

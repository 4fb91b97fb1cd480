// The GPU of a test: CUDA's, or the one that the fake makes believe.
#pragma once

#include <doctest/doctest.h>

#include <vector>

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

template <class Value>
Buffer on_device(const cuda::Stream& stream, const std::vector<Value>& values) {
  Buffer buffer = cuda::device_buffer(values.size() * sizeof(Value));
  cuda::check(cudaMemcpyAsync(buffer.data(), values.data(), buffer.size(), cudaMemcpyHostToDevice, stream.get()),
              "cudaMemcpyAsync");
  stream.synchronize();
  return buffer;
}

/// The whole buffer.
template <class Value = float>
std::vector<Value> read(const cuda::Stream& stream, const Buffer& buffer) {
  std::vector<Value> values(buffer.size() / sizeof(Value));
  read_back(stream, buffer.data(), buffer.size(), values.data());
  return values;
}

}  // namespace dptrain::testing

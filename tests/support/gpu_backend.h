// The GPU's table of kernels as the checks of parity.h want it.
#pragma once

#include "kernels/cuda/cuda_kernels.h"
#include "support/gpu.h"
#include "support/parity.h"

namespace dptrain::testing {

inline Backend gpu(const cuda::Stream& stream, ElementType type = ElementType::float32) {
  return {
      .kernels = make_cuda_kernels({.device = 0, .stream = stream.get()}),
      .layouts =
          [](const Shape&) {
            return std::vector<Layout>{{Layout::Order::plain, 1}, {Layout::Order::channels_last, 1}};
          },
      .read = [&stream](const void* device, std::size_t bytes, void* host) { read_back(stream, device, bytes, host); },
      .run = [](const std::function<void()>& enqueue) { enqueue(); },
      .type = type,
      .rounds_kernels = true};
}

}  // namespace dptrain::testing

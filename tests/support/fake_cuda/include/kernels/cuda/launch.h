// The fake's way to run the bodies of the project's kernels: a loop on the host, at the end of a stream's queue. It
// stands in for lib/kernels/cuda/launch.h by coming first in the include path.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <type_traits>

#include "support/fake_cuda/fake_cuda.h"

namespace dptrain::cuda {

template <class Body>
void for_each(std::int64_t count, cudaStream_t stream, const Body& body) {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel's arguments are copied to the device as bytes");
  static_assert(sizeof(Body) <= 4000, "more than a kernel's arguments may have in all");
  if (count <= 0) return;
  fake_cuda::enqueue(stream, [=, device = fake_cuda::device_of(stream)] {
    Body words = body;
    __builtin_clear_padding(&words);
    fake_cuda::require_reachable_words(&words, sizeof words, device);
    for (std::int64_t i = 0; i < count; ++i) body(i);
  });
}

}  // namespace dptrain::cuda

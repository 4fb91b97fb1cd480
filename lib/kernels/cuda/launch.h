// Purpose: the one way in which the project's own kernels run: a body, called for every index, each by whichever thread
//   comes to it. For .cu files alone; the tests have a header of this name that runs bodies on the host.
// Thread safety: any host thread; work is ordered by the stream. Invariants: the host does not wait. A body must not
//   depend on which indices run before or beside it, and its members are copied when it is enqueued.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "device/cuda/runtime.h"

namespace dptrain::cuda {

template <class Body>
__global__ void run_body(std::int64_t count, Body body) {
  const std::int64_t stride = std::int64_t{blockDim.x} * gridDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += stride) body(i);
}

/// body(i) for i in [0, count), where `body` has a DPTRAIN_HD operator()(std::int64_t) const.
/// Errors: Error(failed) with CUDA's reason where the launch is refused.
template <class Body>
void for_each(std::int64_t count, cudaStream_t stream, const Body& body) {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel's arguments are copied to the device as bytes");
  static_assert(sizeof(Body) <= 4000, "more than a kernel's arguments may have in all");
  constexpr std::int64_t kThreads = 256;
  constexpr std::int64_t kMostBlocks = 8192;  // more only wait for their turn: each thread strides through the indices
  if (count <= 0) return;
  const auto blocks = static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMostBlocks));
  run_body<<<blocks, kThreads, 0, stream>>>(count, body);
  check(cudaGetLastError(), "a GPU kernel could not be launched");
}

}  // namespace dptrain::cuda

// Purpose: the time on a GPU, for bodies of kernels. For .cu files alone; the tests have a header of this name in which
//   time is the fake's. Thread safety: none needed. Invariants: within a device time does not go back.
#pragma once

#include <cstdint>

/// Marks a body that runs on a device alone: on the host it has no time.
#define DPTRAIN_DEVICE __device__

namespace dptrain::cuda {

/// Nanoseconds, in steps of about one microsecond.
__device__ inline std::uint64_t device_nanoseconds() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

}  // namespace dptrain::cuda

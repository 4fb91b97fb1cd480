// Purpose: how large a replica's gradient sums are, for runs in which the host decides what becomes of a step before it
//   is applied.
// Thread safety: the replica's thread. Invariants: nothing is allocated after construction.
#pragma once

#include <vector>

#include "device/cuda/runtime.h"

namespace dptrain {

class GradientWatch {
 public:
  /// Of at most so many sums, on the current device.
  explicit GradientWatch(std::size_t sums);

  /// Puts a look at the first `sums` of the gradients in line.
  void enqueue(const std::vector<float*>& gradients, std::size_t sums, std::int64_t floats, cudaStream_t stream);
  /// Behind that: Replica::gradient_bound().
  double bound() const;

 private:
  std::size_t sums_ = 0;
  Buffer scratch_, largest_;  // of each sum; in the host's memory, which kernels write as well
};

}  // namespace dptrain

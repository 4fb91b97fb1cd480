// Purpose: the large buffers of an asynchronous run. A process that trains alone takes them as it needs them; among
//   several they lie in memory that the first process's host shares, so that its processes read weights and write
//   gradients there; every other host has all weights, too, for its part of the store and for evaluations.
// Thread safety: gradient() by one thread; the rest by any. Invariants: a buffer never moves.
#pragma once

#include <cstdint>

#include "device/buffer.h"
#include "train/run.h"

namespace dptrain {

class AsyncMemory {
 public:
  /// For so many gradients at a time. All processes together.
  AsyncMemory(Run& run, std::int64_t floats, std::int64_t gradients);

  /// The store's, in the first process; what others of its host see, and elsewhere the copy.
  Buffer weights();
  /// Where the weights are that replica `rank` has read: another process's, too.
  Buffer reading(int rank);
  /// Gradient buffer `number`; in the first process each once, in order.
  Buffer gradient(int number);
  /// Whether a process of the job sees what the first one's host shares.
  bool is_near(int process) const;

 private:
  Buffer vector(std::int64_t place);

  Run& run_;
  const std::int64_t floats_, room_, gradients_;
  Buffer shared_;  // weights, then what each replica has read, then gradients; where there are others
};

}  // namespace dptrain

// Purpose: the cut of a step among the logical workers of local SGD. Thread safety: values, pure functions.
// Invariants: it depends on nothing but the step's samples, the workers and micro_batch_size; every sample belongs to
//   exactly one slice, and to one micro-batch of it.
#pragma once

#include <cstdint>
#include <vector>

#include "train/micro_batches.h"

namespace dptrain {

/// What one worker takes of a step; nothing where there are fewer samples than workers before it.
struct Slice {
  std::int64_t samples = 0;
  Range micro_batches;  ///< of the step
  bool operator==(const Slice&) const = default;
};

struct SlicedStep {
  std::vector<Slice> slices;              ///< by worker
  std::vector<MicroBatch> micro_batches;  ///< of all slices, in their order
};

/// `samples` among `workers`: counts differ by at most one, larger first. Each slice is then cut(.., micro_batch_size).
SlicedStep slice_step(std::int64_t samples, std::int64_t workers, std::int64_t micro_batch_size);

}  // namespace dptrain

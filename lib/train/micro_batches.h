// Purpose: the cut of a step into micro-batches and their assignment to replicas. Thread safety: values, pure
//   functions.
#pragma once

#include <cstdint>
#include <vector>

namespace dptrain {

/// A part of a step's samples: positions [first, first + count) within the step.
struct MicroBatch {
  std::int64_t first = 0, count = 0;
  bool operator==(const MicroBatch&) const = default;
};

/// ceil(samples / size) micro-batches whose sizes differ by at most one, larger first.
std::vector<MicroBatch> cut(std::int64_t samples, std::int64_t size);

/// Micro-batches [first, last).
struct Range {
  int first = 0, last = 0;
  int count() const { return last - first; }
  bool operator==(const Range&) const = default;
};

/// The contiguous range of `count` micro-batches that replica `rank` of `replicas` runs; counts differ by at most one,
/// larger first; a replica past the last micro-batch idles.
Range share(int count, int replicas, int rank);

}  // namespace dptrain

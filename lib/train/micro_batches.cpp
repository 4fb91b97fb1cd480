#include "train/micro_batches.h"

#include <algorithm>

namespace dptrain {

std::vector<MicroBatch> cut(std::int64_t samples, std::int64_t size) {
  const std::int64_t count = (samples + size - 1) / size;
  std::vector<MicroBatch> batches;
  batches.reserve(static_cast<std::size_t>(count));
  std::int64_t first = 0;
  for (std::int64_t m = 0; m < count; ++m) {
    const std::int64_t here = samples / count + (m < samples % count ? 1 : 0);
    batches.push_back({first, here});
    first += here;
  }
  return batches;
}

Range share(int count, int replicas, int rank) {
  const int base = count / replicas, extra = count % replicas;
  const int first = rank * base + std::min(rank, extra);
  return {first, first + base + (rank < extra ? 1 : 0)};
}

}  // namespace dptrain

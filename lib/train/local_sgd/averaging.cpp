#include "train/local_sgd/averaging.h"

#include <algorithm>
#include <numeric>

#include "train/reduction_tree.h"

namespace dptrain {

namespace {

constexpr std::int64_t kBlock = 256;  // doubles of a partial sum: a few of them stay in the cache

struct Sum {
  std::span<const float* const> parts;
  std::span<const std::int64_t> weights;

  /// Whether [lo, hi) holds anything; its sum over elements [offset, offset + count) into `out`.
  bool tree(int lo, int hi, std::int64_t offset, std::int64_t count, double* out) const {
    if (hi - lo == 1) {
      const auto k = static_cast<std::size_t>(lo);
      if (weights[k] == 0) return false;
      const auto weight = static_cast<double>(weights[k]);
      const float* part = parts[k] + offset;
      for (std::int64_t i = 0; i < count; ++i) out[i] = weight * static_cast<double>(part[i]);
      return true;
    }
    const int mid = tree_split(lo, hi);
    double right[kBlock];
    const bool has_left = tree(lo, mid, offset, count, out);
    if (!tree(mid, hi, offset, count, has_left ? right : out)) return has_left;
    for (std::int64_t i = 0; has_left && i < count; ++i) out[i] += right[i];
    return true;
  }
};

}  // namespace

void weighted_mean(std::span<const float* const> parts, std::span<const std::int64_t> weights, std::int64_t count,
                   float* out) {
  const auto all = static_cast<double>(std::accumulate(weights.begin(), weights.end(), std::int64_t{0}));
  const Sum sum{parts, weights};
  double block[kBlock];
  for (std::int64_t offset = 0; offset < count; offset += kBlock) {
    const std::int64_t here = std::min(kBlock, count - offset);
    sum.tree(0, static_cast<int>(parts.size()), offset, here, block);
    for (std::int64_t i = 0; i < here; ++i) out[offset + i] = static_cast<float>(block[i] / all);
  }
}

}  // namespace dptrain

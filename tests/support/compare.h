// How far two tensors are apart.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace dptrain::testing {

/// The largest difference between elements, relative to the largest magnitude in `expected`: an element near zero is a
/// sum of terms as large as its neighbours', and keeps their rounding errors. Infinite where sizes differ or anything
/// is NaN.
inline double difference(std::span<const float> actual, std::span<const float> expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0, worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double apart = std::abs(double{actual[i]} - double{expected[i]});
    if (!std::isfinite(apart)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(double{expected[i]}));
    worst = std::max(worst, apart);
  }
  return worst == 0 ? 0 : worst / std::max(largest, 1e-30);
}

}  // namespace dptrain::testing

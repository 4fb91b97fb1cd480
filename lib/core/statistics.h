// Purpose: what a few measured values come to. Thread safety: pure functions.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

namespace dptrain {

/// The middle one, or the mean of the two in the middle; NaN where there are none.
inline double median(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*std::max_element(values.begin(), middle) + *middle) / 2;
}

}  // namespace dptrain

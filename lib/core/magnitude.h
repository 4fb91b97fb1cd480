// Purpose: the largest magnitude among many floats, found at the speed of memory, and whether all of them are finite.
// Thread safety: pure functions.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

namespace dptrain {

namespace magnitude {

/// A float without its sign, as an integer of the same order: infinity is above all numbers, and NaN above infinity.
inline std::int32_t bits(float value) {
  return static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(value) & 0x7fffffffu);
}
inline float value(std::int32_t bits) {
  return std::min(bits, magnitude::bits(std::numeric_limits<float>::infinity())) == bits
             ? std::bit_cast<float>(bits)
             : std::numeric_limits<float>::infinity();
}

}  // namespace magnitude

/// Infinity where one of them is infinite or not a number; 0 where there are none.
inline float largest_magnitude(const float* values, std::int64_t count) {
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, magnitude::bits(values[i]));
  return magnitude::value(largest);
}

/// target += other, and largest_magnitude() of what that gives, in one pass.
inline float add_and_find_largest(float* target, const float* other, std::int64_t count) {
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const float sum = target[i] + other[i];
    target[i] = sum;
    largest = std::max(largest, magnitude::bits(sum));
  }
  return magnitude::value(largest);
}

}  // namespace dptrain

// Purpose: gradients for the tests of what adds them up. Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace dptrain::test {

inline constexpr std::int64_t kFloats = 1500;

/// From -2 to 2, the same for an index each time.
inline void fill(std::int64_t index, float* gradient) {
  const RandomStream random(7, RandomPurpose::test, 0, static_cast<std::uint64_t>(index));
  for (std::int64_t i = 0; i < kFloats; ++i) gradient[i] = random.uniform(0, static_cast<std::uint64_t>(i)) * 4 - 2;
}

}  // namespace dptrain::test

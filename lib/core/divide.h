// Purpose: whole-number division that rounds up. Thread safety: pure functions.
#pragma once

#include <cstdint>

namespace dptrain {

/// a / b, rounded up; a is not negative, b is positive.
constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace dptrain

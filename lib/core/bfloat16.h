// Purpose: the way between fp32 and bfloat16, for loops that compute in fp32 and store in 16 bits. Written on bits, so
//   that compilers turn it into vectors, with the same result in each of them.
// Thread safety: pure functions. Invariants: to the nearest, ties to even; infinities stay, and a NaN stays one.
#pragma once

#include <bit>
#include <cstdint>

namespace dptrain {

struct BFloat16 {
  std::uint16_t bits;

  BFloat16() = default;
  explicit BFloat16(float value) {
    const auto whole = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t rounded = (whole + 0x7FFF + ((whole >> 16) & 1)) >> 16;
    const std::uint32_t quiet_nan = (whole >> 16) | 0x40;  // its upper bits alone might be those of an infinity
    bits = static_cast<std::uint16_t>((whole & 0x7FFFFFFF) > 0x7F800000 ? quiet_nan : rounded);
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

}  // namespace dptrain

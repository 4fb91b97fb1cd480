// Purpose: the way between fp32 and IEEE's half, for hosts; GPUs have instructions for it, which give the same.
// Thread safety: pure functions. Invariants: to the nearest, ties to even, also where the result is denormal; what is
//   above the range becomes infinite, infinities stay, and a NaN stays one.
#pragma once

#include <bit>
#include <cstdint>

namespace dptrain {

struct Float16 {
  std::uint16_t bits;

  Float16() = default;
  explicit Float16(float value) {
    const auto whole = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((whole >> 16) & 0x8000);
    const std::uint32_t magnitude = whole & 0x7FFFFFFF;
    constexpr std::uint32_t kInfinite = 0x7F800000, kAbove = 0x477FF000;  // kAbove: half-way from 65504 to 65536
    constexpr std::uint32_t kNormal = 0x38800000;                         // 2^-14
    if (magnitude > kInfinite) {
      bits = static_cast<std::uint16_t>(sign | 0x7E00 | ((magnitude >> 13) & 0x3FF));
    } else if (magnitude >= kAbove) {
      bits = static_cast<std::uint16_t>(sign | 0x7C00);
    } else if (magnitude >= kNormal) {
      const std::uint32_t rebased =
          magnitude - (std::uint32_t{112} << 23);  // the exponent counts from 15, not from 127
      bits = static_cast<std::uint16_t>(sign | ((rebased + 0xFFF + ((rebased >> 13) & 1)) >> 13));
    } else {
      // The unit of a float's mantissa from 0.5 to 1 is 2^-24, that of denormal halves: the addition rounds.
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      bits = static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3F000000));
    }
  }
  explicit operator float() const {
    const std::uint32_t all = bits;
    const std::uint32_t sign = (all & 0x8000) << 16, exponent = (all >> 10) & 0x1F, mantissa = all & 0x3FF;
    if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | (mantissa << 13));
    if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
};

}  // namespace dptrain

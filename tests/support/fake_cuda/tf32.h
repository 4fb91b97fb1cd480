// How tensor cores see fp32 inputs. For the doubles of cuBLASLt and cuDNN.
#pragma once

#include <bit>
#include <cstdint>

namespace fake_cuda {

/// Rounded to TF32's ten bits behind the point.
inline float to_tf32(float value) {
  constexpr std::uint32_t kHalf = 1u << 12, kDropped = (1u << 13) - 1;
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + kHalf) & ~kDropped);
}

}  // namespace fake_cuda

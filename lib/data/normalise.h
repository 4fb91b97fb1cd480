// Purpose: bytes to normalised floats: (byte / 255 - mean) / std as one multiplication and one addition.
// Thread safety: pure functions.
#pragma once

#include <cstdint>

namespace dptrain {

inline float normalising_scale(double std) {
  return static_cast<float>(1.0 / (255.0 * std));
}
inline float normalising_shift(double mean, double std) {
  return static_cast<float>(-mean / std);
}

/// A multiply and an add a value vectorise and beat a table of 256 floats. Contraction is off for the whole build, so
/// vector body and scalar tail agree.
inline void normalise(const std::uint8_t* __restrict from, std::int64_t count, float scale, float shift,
                      float* __restrict out) {
  for (std::int64_t k = 0; k < count; ++k) out[k] = static_cast<float>(from[k]) * scale + shift;
}

}  // namespace dptrain

// Purpose: bytes to normalised floats: (byte / 255 - mean) / std as one multiplication and one addition.
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "data/measure.h"

namespace dptrain {

/// By channel: normalised = byte * scale + shift.
struct BytesToFloats {
  std::vector<float> scale, shift;
};

inline BytesToFloats bytes_to_floats(const Normalisation& normalisation, std::int64_t channels) {
  DPTRAIN_CHECK(static_cast<std::int64_t>(normalisation.mean.size()) == channels &&
                    normalisation.std.size() == normalisation.mean.size(),
                "mean and std do not have one entry a channel");
  BytesToFloats by;
  for (std::size_t c = 0; c < normalisation.mean.size(); ++c) {
    const double mean = normalisation.mean[c], std = normalisation.std[c];
    by.scale.push_back(static_cast<float>(1.0 / (255.0 * std)));
    by.shift.push_back(static_cast<float>(-mean / std));
  }
  return by;
}

/// A multiply and an add a value vectorise and beat a table of 256 floats. Contraction is off for the whole build, so
/// vector body and scalar tail agree.
inline void normalise(const std::uint8_t* __restrict from, std::int64_t count, float scale, float shift,
                      float* __restrict out) {
  for (std::int64_t k = 0; k < count; ++k) out[k] = static_cast<float>(from[k]) * scale + shift;
}

}  // namespace dptrain

// Purpose: moments of several batches as those of one: what the norms over a step share.
// Thread safety: pure functions. Invariants: the result depends on the two alone, channel by channel.
#pragma once

#include <cstdint>

namespace dptrain {

/// How many values a channel has, then each channel's mean, then its sum of squared distances to that.
inline std::int64_t moments_floats(std::int64_t channels) {
  return 1 + 2 * channels;
}

/// Those of a and b together (Chan, Golub and LeVeque 1979); `both` may be a.
void merge_moments(std::int64_t channels, const float* a, const float* b, float* both);

}  // namespace dptrain

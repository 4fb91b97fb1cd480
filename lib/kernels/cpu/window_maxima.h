// Purpose: max pooling of tensors of 16 bits whose channels lie together, where windows neither overlap nor reach
//   outside. oneDNN 2.6.3 takes five times as long (64 channels, 31x31 pixels, batch 64, AVX-512: 2.5 ms forward and
//   2.8 backward against 0.4, 0.5).
// Thread safety: pure functions. Invariants: the first of equal maxima counts, and a NaN before all numbers.
#pragma once

#include <cstdint>

#include "core/bfloat16.h"

namespace dptrain::cpu {

struct Windows {
  std::int64_t images, height, width, channels;  ///< of the input, in this order; 32 channels at least
  std::int64_t window_height, window_width;      ///< at most 256 places together

  std::int64_t out_height() const { return height / window_height; }
  std::int64_t out_width() const { return width / window_width; }
  std::int64_t places() const { return images * out_height() * out_width() * channels; }
};

/// y (images, out height, out width, channels), and the place of each maximum in its window, row after row.
void window_maxima(const Windows& windows, const BFloat16* x, BFloat16* y, std::uint8_t* places);
/// dx: dy at the places of the maxima, zero elsewhere.
void window_maxima_gradient(const Windows& windows, const std::uint8_t* places, const BFloat16* dy, BFloat16* dx);

}  // namespace dptrain::cpu

#include "kernels/cpu/window_maxima.h"

#include <algorithm>
#include <cstring>

namespace dptrain::cpu {

namespace {

/// Channels of one window at a time: what a vector holds. Wider ones than those that code is made for have no
/// registers.
#if defined(__AVX512BW__)
constexpr std::int64_t kBlock = 32;
#elif defined(__AVX2__)
constexpr std::int64_t kBlock = 16;
#else
constexpr std::int64_t kBlock = 8;
#endif
using Signed = std::int16_t __attribute__((vector_size(2 * kBlock)));
using Bits = std::uint16_t __attribute__((vector_size(2 * kBlock)));
using Bytes = std::uint8_t __attribute__((vector_size(kBlock)));

template <class Vector, class Element>
Vector load(const Element* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

/// In the order of the numbers, but for NaNs, which come last.
Signed order(Bits bits) {
  const auto value = reinterpret_cast<Signed>(bits);
  const Signed magnitude = value & 0x7FFF;
  return magnitude > 0x7F80 ? Signed{} + 0x7FFF : value < 0 ? -magnitude : magnitude;
}

/// f(first channel of a block); the last one begins early where they do not come out even.
template <class Body>
void each_block(std::int64_t channels, const Body& body) {
  for (std::int64_t first = 0; first < channels; first += kBlock) body(std::min(first, channels - kBlock));
}

/// f(the window's place in the output, its first element of the input), window by window.
template <class Body>
void each_window(const Windows& w, const Body& body) {
  std::int64_t out = 0;
  for (std::int64_t n = 0; n < w.images; ++n)
    for (std::int64_t y = 0; y < w.out_height(); ++y)
      for (std::int64_t x = 0; x < w.out_width(); ++x, ++out)
        body(out, (n * w.height + y * w.window_height) * w.width + x * w.window_width);
}

/// One window's maxima for a block of channels.
void maxima(const Windows& w, const std::uint16_t* x, std::uint16_t* y, std::uint8_t* places) {
  auto bits = load<Bits>(x);
  Signed best = order(bits), at = {};
  for (std::int64_t row = 0, k = 0; row < w.window_height; ++row) {
    for (std::int64_t column = 0; column < w.window_width; ++column, ++k) {
      const auto other = load<Bits>(x + (row * w.width + column) * w.channels);
      const Signed ordered = order(other), larger = ordered > best;
      best = larger ? ordered : best;
      bits = larger ? other : bits;
      at = larger ? Signed{} + static_cast<std::int16_t>(k) : at;
    }
  }
  const Bytes bytes = __builtin_convertvector(at, Bytes);
  std::memcpy(y, &bits, sizeof bits);
  std::memcpy(places, &bytes, sizeof bytes);
}

void spread(const Windows& w, const std::uint8_t* places, const std::uint16_t* dy, std::uint16_t* dx) {
  const Signed at = __builtin_convertvector(load<Bytes>(places), Signed);
  const auto gradient = load<Bits>(dy);
  for (std::int64_t row = 0, k = 0; row < w.window_height; ++row) {
    for (std::int64_t column = 0; column < w.window_width; ++column, ++k) {
      const Bits part = at == static_cast<std::int16_t>(k) ? gradient : Bits{};
      std::memcpy(dx + (row * w.width + column) * w.channels, &part, sizeof part);
    }
  }
}

}  // namespace

void window_maxima(const Windows& w, const BFloat16* x, BFloat16* y, std::uint8_t* places) {
  const auto* from = reinterpret_cast<const std::uint16_t*>(x);
  auto* to = reinterpret_cast<std::uint16_t*>(y);
  each_window(w, [&](std::int64_t out, std::int64_t in) {
    each_block(w.channels, [&](std::int64_t c) {
      maxima(w, from + in * w.channels + c, to + out * w.channels + c, places + out * w.channels + c);
    });
  });
}

void window_maxima_gradient(const Windows& w, const std::uint8_t* places, const BFloat16* dy, BFloat16* dx) {
  const auto* from = reinterpret_cast<const std::uint16_t*>(dy);
  auto* to = reinterpret_cast<std::uint16_t*>(dx);
  // What no window reaches: the last rows and columns.
  const std::int64_t rows = w.out_height() * w.window_height, columns = w.out_width() * w.window_width;
  for (std::int64_t n = 0; n < w.images; ++n) {
    for (std::int64_t y = 0; y < w.height; ++y) {
      const std::int64_t first = y < rows ? columns : 0;
      std::fill_n(to + ((n * w.height + y) * w.width + first) * w.channels, (w.width - first) * w.channels, 0);
    }
  }
  each_window(w, [&](std::int64_t out, std::int64_t in) {
    each_block(w.channels, [&](std::int64_t c) {
      spread(w, places + out * w.channels + c, from + out * w.channels + c, to + in * w.channels + c);
    });
  });
}

}  // namespace dptrain::cpu

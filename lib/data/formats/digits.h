// Purpose: digits that look handwritten, 28 x 28 grey bytes, made and not read: strokes with random slant, size, place,
//   bend, pen width, ink and noise. A sample is a pure function of (seed, split, index).
// Thread safety: pure functions. Invariants: computed with what IEEE 754 rounds exactly (+ - * / sqrt) alone, so the
//   same bytes come from every build and number of threads.
#pragma once

#include <cstdint>
#include <span>

#include "core/stop.h"
#include "data/byte_block.h"

namespace dptrain {

inline constexpr int kDigitExtent = 28;
inline constexpr int kDigitPixels = kDigitExtent * kDigitExtent;
/// More would not fit into the memory of most machines (784 bytes each).
inline constexpr std::int64_t kMostDigits = 10'000'000;

enum class DigitSplit : std::uint32_t { train = 0, test = 1 };

/// Draws one sample into `pixels`, (28, 28) row-major, 0 for paper to 255 for ink; returns its label.
std::uint8_t draw_digit(std::uint64_t seed, DigitSplit split, std::int64_t index,
                        std::span<std::uint8_t, kDigitPixels> pixels);

struct Digits {
  ByteBlock pixels;  ///< (count, 28, 28)
  ByteBlock labels;  ///< (count)
};

/// Samples 0 to count - 1, drawn by up to `threads` threads. Errors: out of memory (failed); Stopped.
Digits generate_digits(std::uint64_t seed, DigitSplit split, std::int64_t count, int threads,
                       const StopRequest* stop = nullptr);

}  // namespace dptrain

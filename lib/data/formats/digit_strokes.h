// Purpose: the ten digits as strokes of a pen, several ways to write each: what digits.cpp distorts and draws.
// Thread safety: constants.
#pragma once

#include <array>
#include <span>

namespace dptrain {

/// x grows to the right, y downwards; a digit is about 2 high (-1 to 1) and 1 to 1.2 wide, around (0, 0).
struct StrokePoint {
  float x, y;
};
/// A smooth curve through its points; corners are where one stroke ends and the next begins at the same point.
using Stroke = std::span<const StrokePoint>;
/// One way to write a digit.
using Glyph = std::span<const Stroke>;

/// The ways to write `digit` (0 to 9).
std::span<const Glyph> digit_glyphs(int digit);

/// No stroke has more points, no glyph more strokes.
inline constexpr int kMostStrokePoints = 12;
inline constexpr int kMostGlyphStrokes = 4;

}  // namespace dptrain

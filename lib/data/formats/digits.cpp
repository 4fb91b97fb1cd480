#include "data/formats/digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <future>
#include <vector>

#include "core/error.h"
#include "core/philox.h"
#include "data/formats/digit_strokes.h"

namespace dptrain {
namespace {

constexpr int kPieces = 5;  // straight pieces between two stroke points
constexpr int kMostPieces = kMostGlyphStrokes * kMostStrokePoints * kPieces;
constexpr int kGrid = 4;  // the bend is given at 4 x 4 places

/// Consecutive draws for one sample.
class Draws {
 public:
  Draws(const RandomStream& stream, std::int64_t item) : stream_(stream), item_(static_cast<std::uint64_t>(item)) {}

  std::uint32_t bits() {
    if (next_ % 4 == 0) block_ = stream_.block(item_, next_ / 4);
    return block_[next_++ % 4];
  }
  /// 0 to count - 1.
  int below(int count) { return static_cast<int>(std::uint64_t{bits()} * static_cast<std::uint64_t>(count) >> 32); }
  /// Uniform in [low, high).
  float between(float low, float high) { return low + (high - low) * (static_cast<float>(bits() >> 8) * 0x1p-24f); }
  /// Around 0, bell-shaped, within +-reach.
  float around(float reach) { return (between(-1, 1) + between(-1, 1) + between(-1, 1)) * (reach / 3); }
  /// A whole block, for noise.
  std::array<std::uint32_t, 4> words() {
    next_ = (next_ + 3) / 4 * 4 + 4;
    return stream_.block(item_, next_ / 4 - 1);
  }

 private:
  const RandomStream& stream_;
  std::uint64_t item_;
  std::uint64_t next_ = 0;
  std::array<std::uint32_t, 4> block_{};
};

/// Where the pen goes: first a smooth bend, then slant, size, turn and place.
class Warp {
 public:
  explicit Warp(Draws& draws) {
    for (auto& row : bend_) {
      for (StrokePoint& shift : row) shift = {draws.around(0.36f), draws.around(0.36f)};
    }
    // Turned by the angle whose half has the tangent t: sine and cosine without a library's.
    const float t = draws.around(0.25f);
    const float cosine = (1 - t * t) / (1 + t * t), sine = 2 * t / (1 + t * t);
    const float slant = draws.around(0.50f) - 0.08f;
    const float width = draws.between(0.68f, 1.22f), height = draws.between(0.76f, 1.09f);
    const float pixels = 9.3f;  // for 1 of a stroke's units
    xx_ = pixels * cosine * width;
    xy_ = pixels * (cosine * slant - sine) * height;
    yx_ = pixels * sine * width;
    yy_ = pixels * (sine * slant + cosine) * height;
    x0_ = 13.5f + draws.around(2.6f);
    y0_ = 13.5f + draws.around(2.6f);
  }

  /// From stroke units to pixels; the centre of the upper left pixel is (0, 0).
  StrokePoint operator()(StrokePoint p) const {
    const StrokePoint shift = bend(p);
    const float x = p.x + shift.x, y = p.y + shift.y;
    return {x0_ + xx_ * x - xy_ * y, y0_ + yx_ * x + yy_ * y};
  }

 private:
  StrokePoint bend(StrokePoint p) const {
    const auto place = [](float v) { return std::clamp((v + 1.2f) * ((kGrid - 1) / 2.4f), 0.0f, kGrid - 1.001f); };
    const float gx = place(p.x), gy = place(p.y);
    const int column = static_cast<int>(gx), row = static_cast<int>(gy);
    const auto ease = [](float f) { return f * f * (3 - 2 * f); };
    const float fx = ease(gx - static_cast<float>(column)), fy = ease(gy - static_cast<float>(row));
    const auto mix = [&](float StrokePoint::*part) {
      const float upper = bend_[row][column].*part * (1 - fx) + bend_[row][column + 1].*part * fx;
      const float lower = bend_[row + 1][column].*part * (1 - fx) + bend_[row + 1][column + 1].*part * fx;
      return upper * (1 - fy) + lower * fy;
    };
    return {mix(&StrokePoint::x), mix(&StrokePoint::y)};
  }

  std::array<std::array<StrokePoint, kGrid>, kGrid> bend_;
  float xx_, xy_, yx_, yy_, x0_, y0_;
};

/// For each pixel, the square of its distance to the pen's path, in pen radii.
using Field = std::array<float, kDigitPixels>;

/// Takes a straight piece from `a` to `b` with a pen of the given radius into the field.
void add_piece(Field& field, StrokePoint a, StrokePoint b, float radius) {
  const float dx = b.x - a.x, dy = b.y - a.y;
  const float length2 = dx * dx + dy * dy;
  const float along = length2 > 1e-6f ? 1 / length2 : 0;
  const float weight = 1 / (radius * radius);
  // Farther than the pen and a pixel no ink falls (see draw_digit), so the other rows need no distance.
  const auto row_at = [](float y) { return static_cast<int>(std::clamp(y, 0.0f, kDigitExtent - 1.0f)); };
  const int last_row = row_at(std::max(a.y, b.y) + radius + 1);
  for (int row = row_at(std::min(a.y, b.y) - radius - 1); row <= last_row; ++row) {
    const float y = static_cast<float>(row) - a.y;
    float* const line = field.data() + row * kDigitExtent;
    for (int column = 0; column < kDigitExtent; ++column) {
      const float x = static_cast<float>(column) - a.x;
      float t = (x * dx + y * dy) * along;
      t = t < 0 ? 0 : t;
      t = t > 1 ? 1 : t;
      const float ex = x - t * dx, ey = y - t * dy;
      const float distance = (ex * ex + ey * ey) * weight;
      line[column] = distance < line[column] ? distance : line[column];
    }
  }
}

/// A Catmull-Rom spline through the stroke's points, each a little off its place.
void add_stroke(Field& field, Stroke stroke, const Warp& warp, float radius, Draws& draws) {
  std::array<StrokePoint, kMostStrokePoints> points;
  for (std::size_t i = 0; i < stroke.size(); ++i) {
    points[i] = {stroke[i].x + draws.around(0.13f), stroke[i].y + draws.around(0.13f)};
  }
  const int last = static_cast<int>(stroke.size()) - 1;
  float pen = radius * draws.between(0.85f, 1.15f);
  StrokePoint from = warp(points[0]);
  for (int span = 0; span < last; ++span) {
    const StrokePoint p0 = points[std::max(span - 1, 0)], p1 = points[span];
    const StrokePoint p2 = points[span + 1], p3 = points[std::min(span + 2, last)];
    const float next_pen = radius * draws.between(0.8f, 1.2f);
    for (int piece = 1; piece <= kPieces; ++piece) {
      const float t = static_cast<float>(piece) * (1.0f / kPieces);
      const auto spline = [t](float a, float b, float c, float d) {
        return 0.5f * (2 * b + t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d))));
      };
      const StrokePoint to = warp({spline(p0.x, p1.x, p2.x, p3.x), spline(p0.y, p1.y, p2.y, p3.y)});
      add_piece(field, from, to, pen + (next_pen - pen) * t);
      from = to;
    }
    pen = next_pen;
  }
}

}  // namespace

std::uint8_t draw_digit(std::uint64_t seed, DigitSplit split, std::int64_t index,
                        std::span<std::uint8_t, kDigitPixels> pixels) {
  const RandomStream stream(seed, RandomPurpose::generate, static_cast<std::uint32_t>(split));
  Draws draws(stream, index);
  const int label = draws.below(10);
  const auto glyphs = digit_glyphs(label);
  const Glyph glyph = glyphs[static_cast<std::size_t>(draws.below(static_cast<int>(glyphs.size())))];
  const Warp warp(draws);
  const float radius = draws.between(0.7f, 1.8f);
  const float ink = draws.between(170, 255);
  const float noise = draws.between(0, 28);

  Field field;
  field.fill(1e6f);
  for (const Stroke& stroke : glyph) add_stroke(field, stroke, warp, radius, draws);

  // The edge of the line is a little wider than a pixel; ink ends 0.625 pixels outside of it (0.87 for the widest pen).
  std::array<std::uint32_t, 4> words = {};
  for (int i = 0; i < kDigitPixels; ++i) {
    if (i % 16 == 0) words = draws.words();
    const std::uint32_t random = words[static_cast<std::size_t>(i % 16 / 4)] >> (i % 4 * 8) & 0xff;
    const float covered = std::clamp(0.5f + (1 - std::sqrt(field[i])) * radius * 0.8f, 0.0f, 1.0f);
    const float value = covered * ink + (static_cast<float>(random) * (1.0f / 127.5f) - 1) * noise;
    pixels[i] = static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f) + 0.5f);
  }
  return static_cast<std::uint8_t>(label);
}

Digits generate_digits(std::uint64_t seed, DigitSplit split, std::int64_t count, int threads, const StopRequest* stop) {
  DPTRAIN_CHECK(count >= 1 && count <= kMostDigits && threads >= 1, "{} digits by {} threads", count, threads);
  Digits digits = {ByteBlock(static_cast<std::size_t>(count) * kDigitPixels),
                   ByteBlock(static_cast<std::size_t>(count))};
  const auto draw = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      if (i % 256 == 0) throw_if_stopped(stop);
      digits.labels.data()[i] = draw_digit(
          seed, split, i, std::span<std::uint8_t, kDigitPixels>(digits.pixels.data() + i * kDigitPixels, kDigitPixels));
    }
  };
  std::vector<std::future<void>> others;
  for (int part = 1; part < threads; ++part) {
    others.push_back(std::async(std::launch::async, draw, count * part / threads, count * (part + 1) / threads));
  }
  draw(0, count / threads);
  for (auto& other : others) other.get();
  return digits;
}

}  // namespace dptrain

// Purpose: a part of a plane of bytes at other extents: a triangle as wide as the step where it shrinks (so every pixel
//   counts), bilinear where it grows. Thread safety: a Resampler is one caller's. Invariants: weights are whole
//   numbers, so the same bytes come from every build; a Resampler's memory serves again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "data/images/image.h"

namespace dptrain {

/// Bytes at data[y * row + x * pixel].
struct Plane {
  const std::uint8_t* data = nullptr;
  std::int64_t row = 0, pixel = 1;
};

/// A part of a plane, in pixels; need not begin or end at whole ones.
struct Box {
  double top = 0, left = 0, height = 0, width = 0;
};

/// The largest part of an image that has the proportions of `target`, in its middle.
Box covering_box(ImageExtents image, ImageExtents target);

class Resampler {
 public:
  /// From now on `box`, of an image of the extents `from`, becomes `to`.
  void prepare(ImageExtents from, const Box& box, ImageExtents to);
  /// One plane of the image; `out` is of the extents `to`, row-major.
  void resample(const Plane& from, std::uint8_t* out);

 private:
  /// For each step along one axis of the box: the pixels that count, and how much. A step has room for `most` weights.
  struct Axis {
    std::vector<std::int32_t> first, count, weights;
    std::size_t most = 0;
  };
  void prepare_axis(double start, double length, std::int64_t extent, std::int64_t count, Axis& axis);

  Axis horizontal_, vertical_;
  std::vector<double> shares_;      // of a step's pixels, before they are whole numbers
  std::vector<std::uint8_t> rows_;  // those that count, at their new width
};

}  // namespace dptrain

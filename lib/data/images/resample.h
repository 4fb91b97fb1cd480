// Purpose: a part of a plane of bytes at other extents: a triangle as wide as the step where it shrinks (so every pixel counts),
//   bilinear where it grows. Thread safety: a pure function; a room is one caller's. Invariants: weights are whole numbers, so
//   the same bytes come from every build.
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
  ImageExtents extents;
};

/// A part of a plane, in pixels; need not begin or end at whole ones.
struct Box {
  double top = 0, left = 0, height = 0, width = 0;
};

/// The largest part of an image that has the proportions of `target`, in its middle.
Box covering_box(ImageExtents image, ImageExtents target);

/// Memory that serves again.
struct ResampleRoom {
  struct Axis {
    std::vector<std::int32_t> first, count, weights;
  };
  Axis horizontal, vertical;
  std::vector<std::uint8_t> rows;
};

/// `out` is (extents), row-major.
void resample(const Plane& from, const Box& box, ImageExtents extents, std::uint8_t* out, ResampleRoom& room);

}  // namespace dptrain

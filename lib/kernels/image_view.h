// Purpose: images seen once more for an evaluation: moved by a few pixels, mirrored; and what a model makes of all
//   views, added up. The arithmetic of an element, looped over on the CPU, launched on a GPU.
// Thread safety: values; calls on different elements are independent. Invariants: every operation rounds, so both give
//   the same bits.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace dptrain {

/// Pixel (row, column) is the image's at (row + down, column + right), reflected at the edges without repeating them;
/// then the whole is mirrored from left to right. Moves are smaller than the image.
struct ImageView {
  std::int64_t down = 0, right = 0;
  bool mirrored = false;
  float weight = 1;  ///< of what the model says of it, in the mean over views
};

/// Element i of the view `y` of planes `x`, (planes, height, width) plain.
struct SeeView {
  ImageView view;
  std::int64_t height = 0, width = 0;
  const float* x = nullptr;
  float* y = nullptr;

  DPTRAIN_HD static std::int64_t reflected(std::int64_t place, std::int64_t count) {
    if (place < 0) return -place;
    return place < count ? place : 2 * count - 2 - place;
  }
  /// The image's row that is seen as row `row`, of all planes one after the other.
  DPTRAIN_HD const float* from(std::int64_t row) const {
    const std::int64_t own = row % height;
    return x + (row - own + reflected(own + view.down, height)) * width;
  }
  DPTRAIN_HD float pixel(const float* from_row, std::int64_t column) const {
    return from_row[reflected((view.mirrored ? width - 1 - column : column) + view.right, width)];
  }
  DPTRAIN_HD void operator()(std::int64_t i) const { y[i] = pixel(from(i / width), i % width); }
};

/// sum[i] += weight x[i]; where this is the first view, sum[i] = weight x[i].
struct AddView {
  float weight = 1;
  bool first = true;
  const float* x = nullptr;
  float* sum = nullptr;

  DPTRAIN_HD void operator()(std::int64_t i) const {
    const float part = weight * x[i];
    sum[i] = first ? part : sum[i] + part;
  }
};

}  // namespace dptrain

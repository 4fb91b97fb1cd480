// Purpose: filters that whiten a convolution's input: what `init: whiten` starts the first layer with. Their outputs,
//   over the patches that they were made of, have variance one and do not correlate (Coates and Ng 2012, section 2.3;
//   as first layer of a network that trains fast: Page 2019, Jordan 2024). Thread safety: one thread. Invariants: the
//   same images in the same order give the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"

namespace dptrain {

class PatchWhitening {
 public:
  /// Patches of (image.channels, height, width), at every place of an image (C, H, W).
  PatchWhitening(const Shape& image, std::int64_t height, std::int64_t width);

  std::int64_t patches_per_image() const;
  void add(const float* image);
  /// (2 n, n) with n = C * height * width: for each eigenvector of the patches' second moments, the largest eigenvalue
  /// first, the vector over the root of its eigenvalue, and the same with the other sign. Needs one image at least.
  std::vector<float> filters() const;

 private:
  Shape image_;
  std::int64_t height_, width_, size_;
  std::int64_t patches_ = 0;
  std::vector<double> moments_;  // (n, n), the upper triangle
  std::vector<float> patch_;
};

}  // namespace dptrain

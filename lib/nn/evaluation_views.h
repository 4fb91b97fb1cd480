// Purpose: the views of an image that an evaluation takes the mean of: what the model makes of each is added up before
//   the loss. (Test-time augmentation, as in Krizhevsky et al. 2012; six views are those of Jordan 2024, "94% on
//   CIFAR-10 in 3.29 seconds".)
// Thread safety: one thread. Invariants: with one view nothing is copied and nothing added.
#pragma once

#include <vector>

#include "core/shape.h"
#include "kernels/image_view.h"
#include "kernels/kernels.h"

namespace dptrain {

class EvaluationViews {
 public:
  /// 1 view, the image; 2, and its mirror image; 6, these and both moved by a pixel, up and left, and down and right,
  /// half as heavy. Of batches of at most so many samples of this shape, (channels, height, width) where there are more
  /// views than one.
  EvaluationViews(Kernels& kernels, std::int64_t count, const Shape& sample, std::int64_t outputs,
                  std::int64_t largest);

  /// `forward(x)` for each view, which returns the outputs of (batch, input) plain `x`. What their mean is.
  template <class Forward>
  const float* mean(std::int64_t batch, const float* x, Forward&& forward) {
    for (const ImageView& view : views_) add(view, batch, forward(see(view, batch, x)));
    return sum_.floats();
  }
  bool are_many() const { return !views_.empty(); }
  std::int64_t bytes() const { return static_cast<std::int64_t>(seen_.size() + sum_.size()); }

 private:
  const float* see(const ImageView& view, std::int64_t batch, const float* x);
  void add(const ImageView& view, std::int64_t batch, const float* outputs);

  Kernels& kernels_;
  const Shape sample_;
  const std::int64_t outputs_;
  std::vector<ImageView> views_;  // empty where the image itself is all
  Buffer seen_, sum_;
};

}  // namespace dptrain

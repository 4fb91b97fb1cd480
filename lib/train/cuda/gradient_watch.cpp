#include "train/cuda/gradient_watch.h"

#include "kernels/cuda/magnitude.h"

namespace dptrain {

GradientWatch::GradientWatch(std::size_t sums)
    : scratch_(cuda::device_buffer(cuda::kMagnitudeScratch * sizeof(float))),
      largest_(cuda::pinned_buffer(sums * sizeof(float))) {}

void GradientWatch::enqueue(const std::vector<float*>& gradients, std::size_t sums, std::int64_t floats,
                            cudaStream_t stream) {
  sums_ = sums;
  for (std::size_t k = 0; k < sums; ++k)
    cuda::largest_magnitude(gradients[k], floats, scratch_.floats(), largest_.floats() + k, stream);
}

double GradientWatch::bound() const {
  double bound = 0;
  for (std::size_t k = 0; k < sums_; ++k) bound += static_cast<double>(largest_.floats()[k]);
  return bound;
}

}  // namespace dptrain

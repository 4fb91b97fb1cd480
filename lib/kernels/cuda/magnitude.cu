#include <algorithm>
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/magnitude.h"

namespace dptrain::cuda {
namespace {

/// The largest of values i, i + stride, i + 2 stride, ... to largest[i]: neighbours read side by side.
struct Largest {
  const float* values;
  float* largest;
  std::int64_t count, stride;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    float most = 0;
    for (std::int64_t k = i; k < count; k += stride) {
      const float size = std::fabs(values[k]);
      if (!(size <= most)) most = size == size ? size : HUGE_VALF;  // NaN is not at most anything
    }
    largest[i] = most;
  }
};

}  // namespace

void largest_magnitude(const float* values, std::int64_t count, float* scratch, float* largest, cudaStream_t stream) {
  constexpr std::int64_t kMany = 32768, kFew = 256;
  const std::int64_t many = std::min(count, kMany), few = std::min(many, kFew);
  float *first = scratch, *second = scratch + kMany;
  for_each(many, stream, Largest{values, first, count, many});
  for_each(few, stream, Largest{first, second, many, few});
  for_each(1, stream, Largest{second, largest, few, 1});
}

}  // namespace dptrain::cuda

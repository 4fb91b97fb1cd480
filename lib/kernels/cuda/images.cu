#include "core/host_device.h"
#include "kernels/cuda/images.h"
#include "kernels/cuda/launch.h"

namespace dptrain::cuda {
namespace {

struct Gather {
  ByteImages images;
  const std::int64_t* ids;
  std::int64_t first;
  float* x;
  std::int32_t* labels;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t sample = i / images.elements, element = i % images.elements;
    const std::int64_t id = ids == nullptr ? first + sample : ids[sample];
    const std::int64_t channel = element / images.plane;
    x[i] = static_cast<float>(images.pixels[id * images.elements + element]) * images.scale[channel] +
           images.shift[channel];
    if (element == 0) labels[sample] = images.labels[id];
  }
};

}  // namespace

void gather_images(const ByteImages& images, const std::int64_t* ids, std::int64_t first, std::int64_t count, float* x,
                   std::int32_t* labels, cudaStream_t stream) {
  for_each(count * images.elements, stream, Gather{images, ids, first, x, labels});
}

}  // namespace dptrain::cuda

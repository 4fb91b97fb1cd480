#include "kernels/cuda/device_clock.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/linger.h"

namespace dptrain::cuda {
namespace {

struct Stamp {
  std::uint64_t* began;
  DPTRAIN_DEVICE void operator()(std::int64_t) const { *began = device_nanoseconds(); }
};

struct Linger {
  const std::uint64_t* began;
  double longer;
  DPTRAIN_DEVICE void operator()(std::int64_t) const {
    const std::uint64_t now = device_nanoseconds();
    const std::uint64_t end = now + static_cast<std::uint64_t>(longer * static_cast<double>(now - *began));
    while (device_nanoseconds() < end) {
    }
  }
};

}  // namespace

void stamp(std::uint64_t* began, cudaStream_t stream) {
  for_each(1, stream, Stamp{began});
}

void linger(const std::uint64_t* began, double factor, cudaStream_t stream) {
  for_each(1, stream, Linger{began, factor - 1});
}

}  // namespace dptrain::cuda

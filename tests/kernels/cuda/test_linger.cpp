// A GPU that is slow on purpose: as many times as slow as it is told, whatever it has to do.
#include <vector>

#include "kernels/cuda/linger.h"
#include "kernels/cuda/update.h"
#include "support/gpu.h"

using namespace dptrain;
using namespace dptrain::testing;

TEST_CASE("a GPU lingers for a multiple of what its work took") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  const Buffer values = on_device(stream, std::vector<float>(1 << 16)),
               began = cuda::device_buffer(sizeof(std::uint64_t));
  auto* mark = static_cast<std::uint64_t*>(began.data());
  for (const int pieces : {40, 400}) {
    for (const double factor : {1.0, 3.0}) {
      cuda::TimedEvent start, worked, end;
      start.record(stream.get());
      cuda::stamp(mark, stream.get());
      for (int k = 0; k < pieces; ++k) cuda::add(values.floats(), values.floats() + (1 << 15), 1 << 15, stream.get());
      worked.record(stream.get());
      cuda::linger(mark, factor, stream.get());
      end.record(stream.get());
      stream.synchronize();
      const double ratio = end.seconds_since(start) / worked.seconds_since(start);
      CHECK(ratio > 0.8 * factor);
      if (factor > 1)
        CHECK(ratio < 1.2 * factor);  // without a factor there is the launch alone, however short the work
    }
  }
}

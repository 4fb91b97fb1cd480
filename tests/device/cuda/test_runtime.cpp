// Streams, events, graphs and memory as their users need them, on whatever CUDA there is.
#include <numeric>
#include <thread>
#include <vector>

#include "core/error.h"
#include "support/gpu.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr std::size_t kCount = 1 << 16;
constexpr std::size_t kBytes = kCount * sizeof(int);

int* ints(const Buffer& buffer) {
  return static_cast<int*>(buffer.data());
}

void copy(void* to, const void* from, const cuda::Stream& stream) {
  cuda::check(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDefault, stream.get()), "cudaMemcpyAsync");
}

}  // namespace

TEST_CASE("memory is zeroed and aligned") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  const Buffer device = cuda::device_buffer(kBytes), pinned = cuda::pinned_buffer(kBytes);
  CHECK(device.size() == kBytes);
  CHECK(reinterpret_cast<std::uintptr_t>(device.data()) % 256 == 0);
  std::vector<int> host(kCount, 7);
  read_back(stream, device.data(), kBytes, host.data());
  CHECK(host == std::vector<int>(kCount, 0));
  CHECK(std::vector<int>(ints(pinned), ints(pinned) + kCount) == host);
  CHECK(cuda::device_buffer(0).data() == nullptr);
  CHECK_THROWS_AS(cuda::device_buffer(std::size_t{1} << 60), Error);
  CHECK(cudaPeekAtLastError() == cudaSuccess);
}

TEST_CASE("an event orders two streams") {
  if (!gpu_is_there()) return;
  const Buffer from = cuda::pinned_buffer(kBytes), device = cuda::device_buffer(kBytes),
               to = cuda::pinned_buffer(kBytes);
  const cuda::Stream up, down;
  cuda::Event uploaded, downloaded;
  for (int round = 1; round < 50; ++round) {
    std::iota(ints(from), ints(from) + kCount, round);
    downloaded.make_wait(up.get());
    copy(device.data(), from.data(), up);
    uploaded.record(up.get());
    uploaded.make_wait(down.get());
    copy(to.data(), device.data(), down);
    downloaded.record(down.get());
    downloaded.synchronize();
    CHECK(downloaded.reached());
    CHECK(uploaded.reached());
    CHECK(ints(to)[0] == round);
    CHECK(ints(to)[kCount - 1] == round + static_cast<int>(kCount) - 1);
  }
}

TEST_CASE("a graph over two streams is replayed with what lies in memory then") {
  if (!gpu_is_there()) return;
  const Buffer from = cuda::pinned_buffer(kBytes), device = cuda::device_buffer(kBytes),
               to = cuda::pinned_buffer(kBytes);
  const cuda::Stream stream, side;
  cuda::Event fork, join;
  const cuda::Graph graph = cuda::Graph::capture(stream.get(), [&] {
    copy(device.data(), from.data(), stream);
    fork.record(stream.get());
    fork.make_wait(side.get());
    copy(to.data(), device.data(), side);
    join.record(side.get());
    join.make_wait(stream.get());
    std::thread([] { cuda::device_buffer(64); }).join();  // others may allocate meanwhile
  });
  for (int round = 1; round < 5; ++round) {
    std::fill_n(ints(from), kCount, round);
    graph.launch(stream.get());
    stream.synchronize();
    CHECK(ints(to)[kCount - 1] == round);
  }
}

TEST_CASE("a capture that fails leaves the stream usable") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  CHECK_THROWS_AS(cuda::Graph::capture(stream.get(), [] { throw 1; }), int);
  CHECK_THROWS_AS(cuda::Graph::capture(stream.get(), [&] { stream.synchronize(); }), Error);
  stream.synchronize();
  CHECK(cudaPeekAtLastError() == cudaSuccess);
}

TEST_CASE("devices are described") {
  if (!gpu_is_there()) return;
  const cuda::Devices devices = cuda::devices();
  CHECK(devices.problem.empty());
  for (const cuda::DeviceInfo& device : devices.all) {
    CHECK_FALSE(device.name.empty());
    CHECK(device.major >= 3);
    CHECK(device.memory > 0);
  }
  CHECK(cuda::free_memory(0) <= devices.all[0].memory);
  CHECK_THROWS_AS(cuda::use_device(static_cast<int>(devices.all.size())), Error);
}

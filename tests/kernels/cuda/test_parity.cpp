// The GPU's operations against float64 references, called once and replayed from a graph.
#include "kernels/cuda/cuda_kernels.h"
#include "support/gpu.h"
#include "support/parity.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

Backend gpu(const cuda::Stream& stream) {
  return {
      .kernels = make_cuda_kernels({.device = 0, .stream = stream.get()}),
      .layouts =
          [](const Shape&) {
            return std::vector<Layout>{{Layout::Order::plain, 1}, {Layout::Order::channels_last, 1}};
          },
      .read = [&stream](const void* device, std::size_t bytes, void* host) { read_back(stream, device, bytes, host); },
      .run = [](const std::function<void()>& enqueue) { enqueue(); }};
}

}  // namespace

TEST_CASE("the GPU's operations are the references' on chosen shapes") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  Backend backend = gpu(stream);
  check_chosen_shapes(backend);
}

TEST_CASE("the GPU's operations are the references' when they are replayed") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  Backend backend = gpu(stream);
  backend.run = [&stream](const std::function<void()>& enqueue) {
    enqueue();  // what is loaded at a first call must not be loaded while a graph is captured
    stream.synchronize();
    const cuda::Graph graph = cuda::Graph::capture(stream.get(), enqueue);
    graph.launch(stream.get());
    graph.launch(stream.get());
    stream.synchronize();
  };
  check_chosen_shapes(backend);
}

TEST_CASE("the GPU's operations are the references' on random shapes") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  Backend backend = gpu(stream);
  CHECK(check_random_shapes(backend));
}

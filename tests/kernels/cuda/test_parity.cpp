// The GPU's operations against float64 references, called once and replayed from a graph.
#include "support/gpu_backend.h"

using namespace dptrain;
using namespace dptrain::testing;

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

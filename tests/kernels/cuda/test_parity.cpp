// The GPU's operations against float64 references in each type of tensors, called once and replayed from a graph.
#include "support/gpu_backend.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr ElementType kTypes[] = {ElementType::float32, ElementType::bfloat16, ElementType::float16};

}  // namespace

TEST_CASE("the GPU's operations are the references' on chosen shapes") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  for (const ElementType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    Backend backend = gpu(stream, type);
    check_chosen_shapes(backend);
  }
}

TEST_CASE("the GPU's operations are the references' when they are replayed") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  for (const ElementType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    Backend backend = gpu(stream, type);
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
}

TEST_CASE("the GPU's operations are the references' on random shapes") {
  if (!gpu_is_there()) return;
  const cuda::Stream stream;
  for (const ElementType type : kTypes) {
    CAPTURE(static_cast<int>(type));
    Backend backend = gpu(stream, type);
    CHECK(check_random_shapes(backend));
  }
}

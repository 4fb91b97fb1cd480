// Once prepared, operations only enqueue: they allocate nothing and never wait. Only the doubles can tell.
#include "support/fake_cuda/fake_cuda.h"
#include "support/gpu_backend.h"

using namespace dptrain;
using namespace dptrain::testing;

TEST_CASE("operations allocate nothing and never wait") {
  const int alive = fake_cuda::live_objects();
  for (const ElementType type : {ElementType::float32, ElementType::float16}) {
    const cuda::Stream stream;
    Backend backend = gpu(stream, type);
    std::int64_t enqueued = 0;
    backend.run = [&enqueued](const std::function<void()>& enqueue) {
      const fake_cuda::Counters before = fake_cuda::counters();
      enqueue();
      const fake_cuda::Counters after = fake_cuda::counters();
      CHECK(after.allocations == before.allocations);
      CHECK(after.waits == before.waits);
      CHECK(after.executed == before.executed);
      enqueued += after.enqueued - before.enqueued;
    };
    check_chosen_shapes(backend);
    CHECK(enqueued > 0);
  }
  CHECK(fake_cuda::live_objects() == alive);  // and give back what they had
}

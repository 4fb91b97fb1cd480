// The fake's graphs: captured work runs when it is launched, as often as it is, in the order that its events give.
#include <doctest/doctest.h>

#include <set>
#include <thread>
#include <vector>

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "support/fake_cuda/fake_cuda.h"

using namespace dptrain;

TEST_CASE("a graph runs its operations each time it is launched, and not before") {
  const cuda::Stream stream;
  std::vector<int> ran;
  const cuda::Graph graph = cuda::Graph::capture(stream.get(), [&] {
    for (int k = 0; k < 3; ++k) fake_cuda::enqueue(stream.get(), [&ran, k] { ran.push_back(k); });
  });
  stream.synchronize();
  CHECK(ran.empty());
  graph.launch(stream.get());
  graph.launch(stream.get());
  stream.synchronize();
  CHECK(ran == std::vector<int>{0, 1, 2, 0, 1, 2});
}

TEST_CASE("streams join a capture through events, and their order is that of the events alone") {
  std::set<std::vector<int>> orders;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    fake_cuda::set_seed(seed);
    const cuda::Stream stream, side;
    cuda::Event fork, join;
    std::vector<int> ran;
    const auto note = [&ran](const cuda::Stream& on, int k) {
      fake_cuda::enqueue(on.get(), [&ran, k] { ran.push_back(k); });
    };
    const cuda::Graph graph = cuda::Graph::capture(stream.get(), [&] {
      note(stream, 0);
      fork.record(stream.get());
      fork.make_wait(side.get());
      note(side, 1);
      note(stream, 2);
      join.record(side.get());
      join.make_wait(stream.get());
      note(stream, 3);
    });
    CHECK_FALSE(fake_cuda::is_capturing(side.get()));
    graph.launch(stream.get());
    stream.synchronize();
    orders.insert(ran);
  }
  CHECK(orders == std::set<std::vector<int>>{{0, 1, 2, 3}, {0, 2, 1, 3}});
}

TEST_CASE("captures that CUDA refuses") {
  const cuda::Stream stream, side;
  cuda::Event event;
  const auto capture = [&](auto&& enqueue) { return cuda::Graph::capture(stream.get(), enqueue); };
  SUBCASE("work of another stream that is not waited for") {
    CHECK_THROWS_AS(capture([&] {
                      fake_cuda::enqueue(stream.get(), [] {});
                      event.record(stream.get());
                      event.make_wait(side.get());
                      fake_cuda::enqueue(side.get(), [] {});
                    }),
                    Error);
  }
  SUBCASE("waiting for work that is not captured") {
    event.record(side.get());
    CHECK_THROWS_AS(capture([&] { event.make_wait(stream.get()); }), Error);
  }
  SUBCASE("the host waiting for a captured stream") {
    CHECK_THROWS_AS(capture([&] { stream.synchronize(); }), Error);
  }
  SUBCASE("allocating") {
    CHECK_THROWS_AS(capture([] { cuda::device_buffer(8); }), Error);
  }
  SUBCASE("a failure of our own") {
    CHECK_THROWS_AS(capture([] { throw 1; }), int);
  }
  CHECK_FALSE(fake_cuda::is_capturing(stream.get()));
  CHECK_FALSE(fake_cuda::is_capturing(side.get()));
  CHECK(cudaPeekAtLastError() == cudaSuccess);
  side.synchronize();
}

TEST_CASE("other threads may allocate during a capture") {
  const cuda::Stream stream;
  const cuda::Graph graph = cuda::Graph::capture(stream.get(), [&] {
    std::thread([] { CHECK(cuda::device_buffer(64).size() == 64); }).join();
    fake_cuda::enqueue(stream.get(), [] {});
  });
  CHECK(bool(graph));
}

TEST_CASE("objects move and are given back") {
  {
    cuda::Stream a, b;
    const cudaStream_t of_a = a.get();
    b = std::move(a);
    CHECK(b.get() == of_a);
    cuda::Event event, other = std::move(event);
    CHECK(event.get() == nullptr);
    cuda::Graph graph;
    CHECK_FALSE(bool(graph));
    graph = cuda::Graph::capture(b.get(), [&] { fake_cuda::enqueue(b.get(), [] {}); });
    CHECK(bool(graph));
  }
  CHECK(fake_cuda::live_objects() == 0);
}

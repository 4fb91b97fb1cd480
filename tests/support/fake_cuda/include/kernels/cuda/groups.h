// The fake's way to run the bodies of the project's kernels that work in groups: on the host, at the end of a stream's
// queue, groups and the threads of a phase in an order that is drawn anew every time, so that what depends on it shows.
// It stands in for lib/kernels/cuda/groups.h by coming first in the include path.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#include "support/fake_cuda/fake_cuda.h"

namespace dptrain::cuda {

template <class Body>
struct FakeGroup {
  std::unique_ptr<typename Body::Shared> shared = std::make_unique<typename Body::Shared>();
  std::vector<typename Body::Thread> threads = std::vector<typename Body::Thread>(Body::kThreads);

  FakeGroup() {  // 0xFF bytes, as all of the fake's memory before it is written
    std::memset(static_cast<void*>(shared.get()), 0xFF, sizeof(typename Body::Shared));
    std::memset(static_cast<void*>(threads.data()), 0xFF, sizeof(typename Body::Thread) * threads.size());
  }
  template <int phase, int end>
  void run(const Body& body, std::int64_t group, std::minstd_rand& random) {
    if constexpr (phase < end) {
      std::array<int, Body::kThreads> order;
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      for (const int thread : order)
        body.template run<phase>(group, thread, *shared, threads[static_cast<std::size_t>(thread)]);
      run<phase + 1, end>(body, group, random);
    }
  }
};

template <class Body, class RunGroup>
void fake_groups(std::int64_t groups, cudaStream_t stream, const Body& body, const RunGroup& run_group) {
  static_assert(std::is_trivially_copyable_v<Body>, "a kernel's arguments are copied to the device as bytes");
  static_assert(sizeof(Body) <= 4000, "more than a kernel's arguments may have in all");
  static_assert(std::is_trivially_default_constructible_v<typename Body::Shared> &&
                sizeof(typename Body::Shared) <= 47 * 1024);
  if (groups <= 0) return;
  fake_cuda::enqueue(stream, [=, device = fake_cuda::device_of(stream)] {
    Body words = body;
    __builtin_clear_padding(&words);
    fake_cuda::require_reachable_words(&words, sizeof words, device);
    static thread_local std::minstd_rand random;
    std::vector<std::int64_t> order(static_cast<std::size_t>(groups));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::shuffle(order.begin(), order.end(), random);
    for (const std::int64_t group : order) run_group(group, random);
  });
}

template <class Body>
void for_each_group(std::int64_t groups, cudaStream_t stream, const Body& body) {
  fake_groups(groups, stream, body, [=](std::int64_t group, std::minstd_rand& random) {
    FakeGroup<Body>().template run<0, Body::kPhases>(body, group, random);
  });
}

template <class Body>
void for_each_group_and_last(std::int64_t groups, cudaStream_t stream, const Body& body, unsigned* counters) {
  fake_groups(groups, stream, body, [=](std::int64_t group, std::minstd_rand& random) {
    FakeGroup<Body> here;
    here.template run<0, Body::kLast>(body, group, random);
    unsigned& counter = counters[body.counter_of(group)];
    const bool last = counter == body.sharers() - 1;
    counter = last ? 0 : counter + 1;
    if (last) here.template run<Body::kLast, Body::kPhases>(body, group, random);
  });
}

}  // namespace dptrain::cuda

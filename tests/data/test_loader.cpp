#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include "data/loader.h"
#include "support/memory_dataset.h"

namespace dptrain {

namespace {

using test::MemoryDataset;

/// Batches of 1, 2, 3, 1, 2, 3, ... samples, ids counting up modulo `samples`; `batches` of them.
Loader::Source counting(std::int64_t samples, int batches) {
  return [samples, batches, k = 0, id = std::int64_t{0}](std::span<std::int64_t> ids) mutable -> std::size_t {
    if (k == batches) return 0;
    const std::size_t count = static_cast<std::size_t>(k++ % 3 + 1);
    for (std::size_t i = 0; i < count; ++i) ids[i] = id++ % samples;
    return count;
  };
}

/// Takes `batches` batches and checks each sample and label.
void expect_batches(Loader& loader, const MemoryDataset& data, int batches, const std::function<void()>& between = {}) {
  std::int64_t id = 0;
  std::vector<float> sample(static_cast<std::size_t>(data.shape().elements()));
  std::int32_t label = 0;
  for (int k = 0; k < batches; ++k) {
    const Batch& batch = loader.next();
    REQUIRE(batch.ids.size() == static_cast<std::size_t>(k % 3 + 1));
    if (between) between();
    for (std::size_t i = 0; i < batch.ids.size(); ++i, ++id) {
      REQUIRE(batch.ids[i] == id % data.size());
      data.gather(batch.ids.subspan(i, 1), sample.data(), &label);
      REQUIRE(batch.labels[i] == label);
      for (std::size_t k2 = 0; k2 < sample.size(); ++k2) REQUIRE(batch.samples[i * sample.size() + k2] == sample[k2]);
    }
    CHECK(reinterpret_cast<std::uintptr_t>(batch.samples) % 64 == 0);
    loader.release();
  }
}

const Shape kShape{1, 3, 2};

}  // namespace

TEST_CASE("batches come in the source's order, whole, with and without a worker, at any ring size") {
  const MemoryDataset data(17, kShape, 4, 1);
  for (const int worker : {0, 1, 2, 5}) {
    for (const std::int64_t slots : {1, 2, 3, 4, 9}) {
      Loader loader(data, counting(data.size(), 100), 3, slots, worker);
      expect_batches(loader, data, 100);
      CHECK_THROWS(loader.next());  // after the last
      CHECK_THROWS(loader.next());  // and it stays the end
      loader.release();             // whatever the caller does
      CHECK_THROWS(loader.next());
    }
  }
}

TEST_CASE("a restart forgets what was loaded ahead, in the middle, at the end and after an error") {
  const MemoryDataset data(17, kShape, 4, 1);
  for (const int worker : {0, 1, 3}) {
    Loader loader(data, counting(data.size(), 9), 3, 4, worker);
    loader.restart(counting(data.size(), 9));  // before anything
    expect_batches(loader, data, 2);
    loader.restart(counting(data.size(), 9));
    expect_batches(loader, data, 9);
    CHECK_THROWS(loader.next());
    loader.restart(counting(data.size(), 5));
    expect_batches(loader, data, 5);
    loader.restart([](std::span<std::int64_t>) -> std::size_t { throw std::runtime_error("bad"); });
    CHECK_THROWS_WITH(loader.next(), "bad");
    loader.restart(counting(data.size(), 5));
    expect_batches(loader, data, 5);
  }
}

TEST_CASE("a slow consumer keeps its batch untouched while the worker runs ahead; a slow worker is waited for") {
  const MemoryDataset data(17, kShape, 4, 1);
  {
    Loader loader(data, counting(data.size(), 12), 3, 3, 2);
    expect_batches(loader, data, 12, [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
  }
  MemoryDataset slow(17, kShape, 4, 1);
  const std::thread::id here = std::this_thread::get_id();
  slow.on_gather = [here](auto) {
    if (std::this_thread::get_id() != here) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  };
  Loader loader(slow, counting(slow.size(), 12), 3, 3, 2);
  expect_batches(loader, slow, 12);
}

TEST_CASE("the worker is never more than the ring ahead") {
  MemoryDataset data(17, kShape, 4, 1);
  std::atomic<int> gathered{0};
  data.on_gather = [&](auto) { ++gathered; };
  Loader loader(data, counting(data.size(), 1000), 3, 4, 2);
  for (int k = 0; k < 50; ++k) {
    loader.next();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    CHECK(gathered <= k + 4);
    loader.release();
  }
}

TEST_CASE("what the source or the dataset throws reaches the replica, after the batches before it, and stays") {
  for (const int worker : {0, 1, 3}) {
    const MemoryDataset data(17, kShape, 4, 1);
    Loader from_source(
        data,
        [k = 0](std::span<std::int64_t> ids) mutable -> std::size_t {
          if (k == 5) throw std::runtime_error("source");
          ids[0] = k++;
          return 1;
        },
        3, 4, worker);
    for (int k = 0; k < 5; ++k) {
      CHECK(from_source.next().ids[0] == k);
      from_source.release();
    }
    CHECK_THROWS_WITH(from_source.next(), "source");
    CHECK_THROWS_WITH(from_source.next(), "source");

    MemoryDataset failing(17, kShape, 4, 1);
    failing.on_gather = [](std::span<const std::int64_t> ids) {
      if (ids[0] == 3) throw std::runtime_error("dataset");
    };
    Loader from_dataset(failing, counting(failing.size(), 100), 3, 4, worker);
    CHECK(from_dataset.next().ids[0] == 0);
    from_dataset.release();
    CHECK(from_dataset.next().ids[0] == 1);
    from_dataset.release();
    CHECK_THROWS_WITH(from_dataset.next(), "dataset");
  }
}

TEST_CASE("a loader can be destroyed at any moment: worker blocked on a full ring, at work, at its end, failed") {
  const MemoryDataset data(17, kShape, 4, 1);
  for (int round = 0; round < 60; ++round) {
    Loader loader(data, counting(data.size(), round % 4 == 3 ? 2 : 1000), 3, 2 + round % 3, 1 + round % 4);
    for (int k = 0; k < round % 3 && k < 2; ++k) {
      loader.next();
      if (k == 0 || round % 2 == 0) loader.release();
    }
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace dptrain

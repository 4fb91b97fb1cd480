// Batches that several replicas draw from one sequence: right ones, once each, whoever is slow, and what goes wrong
// where.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <thread>

#include "data/shared_loader.h"
#include "support/memory_dataset.h"

namespace dptrain {

namespace {

using test::MemoryDataset;

const Shape kShape{1, 3, 2};
constexpr std::int64_t kSamples = 17, kBatches = 300;

/// Batch k has k % 3 + 1 samples from k on.
Loader::Named name(std::int64_t index, std::span<std::int64_t> ids) {
  if (index >= kBatches) return 0;
  const auto count = static_cast<std::size_t>(index % 3 + 1);
  for (std::size_t i = 0; i < count; ++i) ids[i] = (index + static_cast<std::int64_t>(i)) % kSamples;
  return count;
}

/// Whether this is batch `index`, to the last value.
bool is_batch(const Batch& batch, std::int64_t index, const MemoryDataset& data) {
  std::vector<std::int64_t> ids(3);
  ids.resize(name(index, ids).count);
  std::vector<float> samples(ids.size() * static_cast<std::size_t>(kShape.elements()));
  std::vector<std::int32_t> labels(ids.size());
  data.gather(ids, samples.data(), labels.data());
  return std::equal(ids.begin(), ids.end(), batch.ids.begin(), batch.ids.end()) &&
         std::equal(samples.begin(), samples.end(), batch.samples) &&
         std::equal(labels.begin(), labels.end(), batch.labels);
}

}  // namespace

TEST_CASE("readers on threads draw indices: each gets its batch, with and without workers, however little is ahead") {
  const MemoryDataset data(kSamples, kShape, 4, 1);
  for (const int workers : {0, 1, 3}) {
    for (const int readers : {1, 2, 4}) {
      for (const std::int64_t ahead : {0, 1, 8}) {
        SharedLoader loader(data, name, {.largest_batch = 3, .readers = readers, .ahead = ahead, .workers = workers});
        std::atomic<std::int64_t> next{0}, right{0};
        std::vector<std::thread> threads;
        for (int rank = 0; rank < readers; ++rank) {
          threads.emplace_back([&] {
            for (std::int64_t index; (index = next++) < kBatches;)
              right += is_batch(loader.take(index).batch(), index, data) ? 1 : 0;
          });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(right == kBatches);
      }
    }
  }
}

TEST_CASE("who keeps a batch for long holds up nobody, and it stays as it is") {
  const MemoryDataset data(kSamples, kShape, 4, 1);
  for (const int workers : {0, 2}) {
    SharedLoader loader(data, name, {.first = 5, .largest_batch = 3, .readers = 2, .ahead = 3, .workers = workers});
    const auto second = [&](std::int64_t index) { return is_batch(loader.take(index).batch(), index, data); };
    REQUIRE(second(6));  // the one before comes later
    const SharedLoader::Lease first = loader.take(5);
    for (std::int64_t index = 7; index < 100; ++index) REQUIRE(second(index));
    CHECK(is_batch(first.batch(), 5, data));
    CHECK(reinterpret_cast<std::uintptr_t>(first.batch().samples) % 64 == 0);
  }
}

TEST_CASE("slots come from the allocator: one a reader, and those that are loaded ahead") {
  const MemoryDataset data(kSamples, kShape, 4, 1);
  for (const auto& [workers, expected] : {std::pair{0, 3}, {2, 8}, {7, 10}}) {
    int buffers = 0;
    const SharedLoader loader(
        data, name,
        {.largest_batch = 3, .readers = 3, .ahead = 5, .workers = workers, .allocate = [&](std::size_t bytes) {
           ++buffers;
           return Buffer::host(bytes);
         }});
    CHECK(buffers == expected);
  }
}

TEST_CASE("what the dataset throws comes to who takes that batch, and the others go on") {
  MemoryDataset data(kSamples, kShape, 4, 1);
  data.on_gather = [](std::span<const std::int64_t> ids) {
    if (ids.front() == 4) throw std::runtime_error("a bad file");
  };
  for (const int workers : {0, 1, 3}) {
    SharedLoader loader(data, name, {.largest_batch = 3, .readers = 1, .ahead = 2, .workers = workers});
    for (std::int64_t index = 0; index < 16; ++index) {
      if (index == 4)
        CHECK_THROWS_WITH(loader.take(index), "a bad file");
      else
        CHECK(loader.take(index).batch().ids.front() == index);
    }
  }
}

TEST_CASE("it ends in the middle, at the end, and with batches out") {
  const MemoryDataset data(kSamples, kShape, 4, 1);
  for (const int workers : {0, 1, 4}) {
    for (const std::int64_t first : {std::int64_t{0}, kBatches - 2, kBatches}) {
      SharedLoader loader(data, name,
                          {.first = first, .largest_batch = 3, .readers = 2, .ahead = 4, .workers = workers});
      std::optional<SharedLoader::Lease> out;
      if (first < kBatches) out.emplace(loader.take(first));
    }
  }
}

}  // namespace dptrain

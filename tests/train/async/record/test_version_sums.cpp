// The gradients of a replayed version: whoever brings them and in whatever order, the bits of the tree, and few
// buffers.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "train/async/random_gradients.h"
#include "train/async/record/version_sums.h"

namespace dptrain {

namespace {

using test::fill;
using test::kFloats;

/// `count` gradients of version 1, every third index, the last index first.
std::vector<RecordedGradient> recorded(std::int64_t count, float scale_of_last) {
  std::vector<RecordedGradient> all;
  for (std::int64_t k = count; k-- > 0;) all.push_back({.index = 3 * k, .read = {0}, .version = 1});
  all.front().scale = scale_of_last;
  return all;
}

std::vector<float> applied(std::vector<VersionUpdate::Leaf> leaves) {
  const auto store = make_locked_store({.floats = kFloats});
  std::fill_n(store->weights(), kFloats, 0.0f);
  store->announce(1, {.leaves = std::move(leaves), .samples = 3, .rule = SgdRule{.lr = 0.1f}});
  store->apply(1);
  return {store->weights(), store->weights() + kFloats};
}

/// All of them at once.
std::vector<float> at_once(const std::vector<RecordedGradient>& gradients) {
  std::vector<std::vector<float>> floats;
  std::vector<VersionUpdate::Leaf> leaves;
  for (auto gradient = gradients.rbegin(); gradient != gradients.rend(); ++gradient) {
    fill(gradient->index, floats.emplace_back(static_cast<std::size_t>(kFloats)).data());
    leaves.push_back({floats.back().data(), gradient->scale});
  }
  return applied(std::move(leaves));
}

}  // namespace

TEST_CASE("sums of a replayed version: the bits of the tree, in few buffers where none is scaled") {
  for (const std::int64_t count : {1, 2, 13, 64}) {
    for (const float scale : {1.0f, 0.5f}) {
      for (const int threads : {1, 3}) {
        const std::vector<RecordedGradient> gradients = recorded(count, scale);
        std::atomic<int> buffers{0};
        VersionSums sums(kFloats, [&](std::size_t bytes) {
          ++buffers;
          return Buffer::host(bytes);
        });
        sums.expect(gradients);
        std::atomic<std::size_t> next{0};
        const auto work = [&] {
          for (std::size_t k = next++; k < gradients.size(); k = next++) {
            const RecordedGradient& gradient = gradients[threads == 1 ? gradients.size() - 1 - k : k];
            const int buffer = sums.take();
            fill(gradient.index, sums.floats(buffer));
            sums.put(gradient, buffer);
          }
        };
        std::vector<std::thread> all;
        for (int t = 0; t < threads; ++t) all.emplace_back(work);
        for (std::thread& thread : all) thread.join();
        const std::vector<VersionUpdate::Leaf> leaves = sums.leaves(1);
        CHECK(static_cast<std::int64_t>(leaves.size()) == (scale == 1 ? 1 : count));
        CHECK(applied(leaves) == at_once(gradients));
        // In the order of their places.
        if (scale == 1 && threads == 1) CHECK(buffers <= 1 + PartialSums::most(count));
        const int before = buffers;
        sums.done(1);
        for (int k = 0; k < before; ++k) sums.take();
        CHECK(buffers == before);  // all of them were free again
        CHECK(sums.members(1).empty());
      }
    }
  }
}

TEST_CASE("what was dropped is part of no version") {
  std::vector<RecordedGradient> gradients = recorded(3, 1);
  gradients[1].version.reset();
  VersionSums sums(kFloats, &Buffer::host);
  sums.expect(gradients);
  CHECK(sums.members(1) == std::vector<const RecordedGradient*>{&gradients[2], &gradients[0]});
}

}  // namespace dptrain

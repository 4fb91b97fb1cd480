#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "data/sampler.h"

namespace dptrain::test {
namespace {

std::vector<std::int64_t> epoch_order(std::int64_t samples, std::uint64_t seed, std::int64_t epoch,
                                      bool shuffle = true) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(samples));
  Sampler(samples, seed, shuffle).order(epoch, 0, ids);
  return ids;
}

std::vector<std::int64_t> counting(std::int64_t samples) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(samples));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST_CASE(
    "some samples that speak for all: each once, in order, of all classes, and all where that many are asked for") {
  for (const std::int64_t samples : {1, 2, 600, 1024, 5120, 60'000}) {
    for (const std::int64_t count : {std::int64_t{1}, std::min<std::int64_t>(samples, 512), samples}) {
      const std::vector<std::int64_t> ids = some_samples(samples, count);
      CHECK(ids == some_samples(samples, count));
      CHECK(static_cast<std::int64_t>(ids.size()) == count);
      CHECK(std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end());
      CHECK(ids.front() >= 0);
      CHECK(ids.back() < samples);
      if (count == samples) CHECK(ids == counting(samples));
      if (count < 512) continue;
      for (std::int64_t label = 0; label < 10; ++label)
        CHECK(std::abs(std::count_if(ids.begin(), ids.end(), [&](auto id) { return id % 10 == label; }) * 10 - count) <
              count / 2);
    }
  }
}

TEST_CASE("an epoch has every sample exactly once, for any size") {
  std::vector<std::int64_t> sizes = {1, 2, 3, 5, 6, 7, 60'000, 10'007};
  for (std::int64_t power = 4; power <= 65536; power *= 2) sizes.insert(sizes.end(), {power - 1, power, power + 1});
  for (const std::int64_t samples : sizes) {
    for (const std::int64_t epoch : {0, 1, 1000}) {
      std::vector<std::int64_t> ids = epoch_order(samples, 7, epoch);
      std::sort(ids.begin(), ids.end());
      CHECK_MESSAGE(ids == counting(samples), samples);
    }
  }
  CHECK(rc::check([] {
    const auto samples = *rc::gen::inRange<std::int64_t>(1, 3000);
    std::vector<std::int64_t> ids =
        epoch_order(samples, *rc::gen::arbitrary<std::uint64_t>(), *rc::gen::inRange<std::int64_t>(0, 1 << 20));
    std::sort(ids.begin(), ids.end());
    RC_ASSERT(ids == counting(samples));
  }));
}

TEST_CASE("any part of the order is the same as in the whole") {
  CHECK(rc::check([] {
    const auto samples = *rc::gen::inRange<std::int64_t>(1, 2000);
    const auto first = *rc::gen::inRange<std::int64_t>(0, samples);
    const auto count = *rc::gen::inRange<std::int64_t>(0, samples - first + 1);
    const std::vector<std::int64_t> whole = epoch_order(samples, 3, 5);
    std::vector<std::int64_t> part(static_cast<std::size_t>(count));
    Sampler(samples, 3, true).order(5, first, part);
    RC_ASSERT(std::equal(part.begin(), part.end(), whole.begin() + first));
  }));
}

TEST_CASE("the order is pinned: a change of it changes every run") {
  CHECK(epoch_order(10, 1, 0) == std::vector<std::int64_t>{9, 6, 5, 0, 7, 3, 1, 4, 8, 2});
  CHECK(epoch_order(10, 1, 1) == std::vector<std::int64_t>{5, 7, 8, 9, 0, 2, 1, 6, 3, 4});
  std::vector<std::int64_t> ids(3);
  Sampler(60'000, 1, true).order(0, 30'000, ids);
  CHECK(ids == std::vector<std::int64_t>{16375, 6321, 31251});
}

TEST_CASE("seeds and epochs have their own orders; without shuffling there is one") {
  const auto order = epoch_order(1000, 1, 0);
  CHECK(order != counting(1000));
  CHECK(order != epoch_order(1000, 2, 0));
  CHECK(order != epoch_order(1000, 1, 1));
  CHECK(order == epoch_order(1000, 1, 0));
  CHECK(epoch_order(1000, 1, 3, false) == counting(1000));
}

TEST_CASE("places outside the order are refused") {
  std::vector<std::int64_t> ids(3);
  CHECK_THROWS_AS(Sampler(10, 1, true).order(0, 8, ids), Error);
  CHECK_THROWS_AS(Sampler(10, 1, true).order(0, -1, ids), Error);
}

TEST_CASE("over many epochs every sample stands everywhere equally often") {
  for (const std::int64_t samples : {2, 3, 5, 7, 8, 12, 33, 130}) {
    constexpr int epochs = 12'000;
    std::vector<int> counts(static_cast<std::size_t>(samples * samples));
    for (int epoch = 0; epoch < epochs; ++epoch) {
      const auto order = epoch_order(samples, 11, epoch);
      for (std::int64_t place = 0; place < samples; ++place)
        ++counts[static_cast<std::size_t>(place * samples + order[static_cast<std::size_t>(place)])];
    }
    const double expected = static_cast<double>(epochs) / static_cast<double>(samples);
    double chi_square = 0;
    for (const int count : counts) chi_square += (count - expected) * (count - expected) / expected;
    const double freedom = static_cast<double>((samples - 1) * (samples - 1));
    CHECK_MESSAGE(chi_square < freedom + 5 * std::sqrt(2 * freedom) + 5, samples, ": ", chi_square);
  }
}

TEST_CASE("neighbours in the order are not neighbours in the dataset") {
  const auto order = epoch_order(60'000, 1, 0);
  const double mean = 59'999 / 2.0, variance = (60'000.0 * 60'000.0 - 1) / 12;
  double with_place = 0, with_next = 0;
  int next_to = 0;
  for (std::size_t i = 0; i + 1 < order.size(); ++i) {
    const double here = static_cast<double>(order[i]) - mean;
    with_place += here * (static_cast<double>(i) - mean);
    with_next += here * (static_cast<double>(order[i + 1]) - mean);
    next_to += std::abs(order[i] - order[i + 1]) == 1 ? 1 : 0;
  }
  CHECK(std::abs(with_place / variance / 60'000) < 0.02);  // correlations; their standard error is 0.004
  CHECK(std::abs(with_next / variance / 60'000) < 0.02);
  CHECK(next_to < 14);  // 2 expected
}

}  // namespace
}  // namespace dptrain::test

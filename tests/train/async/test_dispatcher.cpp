// The dispatcher with real threads: the bound holds there too, gradients go where they belong, and failures wake
// everybody.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "comm/local/local_group.h"
#include "train/async/dispatcher.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFloats = 1088, kPushes = 10'000;  // two shards

struct Setting {
  LedgerRules rules{};
  int replicas = 4;
  bool hogwild = false;
};

struct Bench {
  explicit Bench(const Setting& setting)
      : replicas(setting.replicas),
        store((setting.hogwild ? make_hogwild_store : make_locked_store)(
            {.floats = kFloats, .shards = 2, .most_at_once = setting.replicas})),
        dispatcher({.rules = setting.rules,
                    .replicas = setting.replicas,
                    .samples = [](std::int64_t) { return std::int64_t{1}; },
                    .rate = [](std::int64_t version,
                               std::int64_t left_out) { return static_cast<double>(100 * version + left_out); },
                    .rule = [](std::int64_t, double) { return SgdRule{.lr = 1}; },
                    .stop_at = [](std::int64_t next) { return (next + 9) / 10 * 10; }},
                   *store) {}

  /// What a replica does between two points of rest; every gradient is one.
  void live(const std::function<void(std::int64_t)>& computing = [](std::int64_t) {}) {
    std::vector<float> weights(static_cast<std::size_t>(kFloats));
    std::vector<std::int64_t> read(store->shards());
    while (const auto work = dispatcher.next()) {
      store->pull(weights.data(), work->version, read);
      dispatcher.pulled(*work, std::min(read.front(), read.back()));
      computing(work->index);
      std::fill_n(work->gradient, kFloats, 1.0f);
      const auto pushed = dispatcher.push(*work);
      if (!pushed.deposit.closes) continue;
      store->apply(pushed.deposit.version);
      dispatcher.give_back(pushed.buffers);
    }
  }
  void live_all(std::int64_t limit) {
    dispatcher.open(limit);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < replicas; ++rank) threads.emplace_back([this] { live(); });
    for (std::thread& thread : threads) thread.join();
    if (const auto rest = dispatcher.close_short()) {
      store->apply(rest->deposit.version);
      dispatcher.give_back(rest->buffers);
    }
  }

  int replicas;
  std::unique_ptr<Store> store;
  Dispatcher dispatcher;
};

}  // namespace

TEST_CASE("threads: the bound holds, every gradient is counted and applied") {
  for (const bool hogwild : {false, true}) {
    for (const std::int64_t per_version : {1, 3}) {
      if (hogwild && per_version > 1) continue;
      for (const OnStale on_stale : {OnStale::wait, OnStale::drop, OnStale::scale}) {
        for (const std::optional<std::int64_t> bound :
             {std::optional<std::int64_t>(), std::optional<std::int64_t>(0), std::optional<std::int64_t>(1),
              std::optional<std::int64_t>(2), std::optional<std::int64_t>(8)}) {
          Bench bench(
              {.rules = {.per_version = per_version, .bound = bound, .on_stale = on_stale}, .hogwild = hogwild});
          bench.live_all(kPushes / 2);
          bench.live_all(kPushes);
          const StalenessCounts counts = bench.dispatcher.counts();
          CHECK(counts.gradients + counts.dropped == kPushes);
          if (bound) CHECK(counts.max <= *bound);
          if (on_stale == OnStale::drop || hogwild) continue;
          CHECK(counts.dropped == 0);
          if (per_version > 1) continue;
          CHECK(bench.dispatcher.version() == kPushes);
          if (on_stale == OnStale::wait) CHECK(bench.store->weights()[5] == -static_cast<float>(kPushes));
        }
      }
    }
  }
}

TEST_CASE("a stop moves the limit to the end of the step that has begun") {
  Bench bench({.replicas = 1});
  bench.dispatcher.open(100);
  bench.live([&](std::int64_t index) {
    if (index == 34) bench.dispatcher.stop();
  });
  CHECK(bench.dispatcher.begun() == 40);
  bench.dispatcher.stop();
  bench.live();
  CHECK(bench.dispatcher.begun() == 40);
}

TEST_CASE(
    "the lag counts from the reading of the weights: who is still loading holds up the others, and no longer when it "
    "has read") {
  Bench bench({.rules = {.bound = 1}, .replicas = 2});
  bench.dispatcher.open(100);
  const auto slow = bench.dispatcher.next(), first = bench.dispatcher.next();
  bench.dispatcher.pulled(*first, 0);
  bench.store->apply(bench.dispatcher.push(*first).deposit.version);
  bench.dispatcher.give_back({first->buffer});
  const auto second = bench.dispatcher.next();
  bench.dispatcher.pulled(*second, 1);
  CHECK_FALSE(
      bench.dispatcher.can_push(*second));  // it would make a version of 2 before `slow`, which may have read that of 0
  bench.dispatcher.pulled(*slow, 1);
  CHECK(bench.dispatcher.can_push(*second));
  CHECK(bench.dispatcher.push(*second).deposit.lag == 0);
  CHECK(bench.dispatcher.push(*slow).deposit.lag == 1);
}

TEST_CASE("the rate of a version knows what was left out before it") {
  Bench bench({.rules = {.bound = 0, .on_stale = OnStale::drop}, .replicas = 3});
  bench.dispatcher.open(100);
  const auto first = bench.dispatcher.next(), stale = bench.dispatcher.next(), bad = bench.dispatcher.next();
  for (const auto* work : {&first, &stale, &bad}) bench.dispatcher.pulled(**work, 0);
  CHECK(bench.dispatcher.push(*first).rate == 0);
  bench.store->apply(1);
  bench.dispatcher.give_back({first->buffer});
  CHECK(bench.dispatcher.push(*stale).deposit.dropped);
  bench.dispatcher.withdraw(*bad);
  const auto next = bench.dispatcher.next();
  bench.dispatcher.pulled(*next, 1);
  CHECK(bench.dispatcher.push(*next).rate == 102);
}

TEST_CASE("where a replica fails, those that wait for it do so no longer") {
  Bench bench({.rules = {.per_version = 2, .bound = 0}, .replicas = 2});
  bench.dispatcher.open(100);
  const auto first = bench.dispatcher.next(), second = bench.dispatcher.next();
  REQUIRE(first);
  REQUIRE(second);
  std::atomic<int> woken = 0;
  std::thread waiting([&] {
    try {
      bench.dispatcher.next();
    } catch (const GroupAborted&) {
      ++woken;
    }
  });
  bench.dispatcher.abandon();
  waiting.join();
  CHECK(woken == 1);
}

}  // namespace dptrain

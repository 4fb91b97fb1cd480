// Gradients of a version that are added as they come: the bits of the tree over all of them, in whatever order they
// come, and few buffers.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "train/async/dispatcher.h"
#include "train/async/random_gradients.h"

namespace dptrain {

namespace {

using test::fill;
using test::kFloats;

/// At no staleness; with `skips` nothing is added before the version is complete.
struct Versions {
  Versions(std::int64_t per_version, int replicas, bool skips)
      : rules{.per_version = per_version, .bound = 0},
        store(make_locked_store({.floats = kFloats, .shards = 2, .most_at_once = replicas})),
        dispatcher({.rules = rules,
                    .replicas = replicas,
                    .skips = skips,
                    .samples = [](std::int64_t index) { return index % 3 + 1; },
                    .rule = [](std::int64_t, double) { return SgdRule{.lr = 0.1f}; },
                    .stop_at = [](std::int64_t next) { return next; },
                    .allocate =
                        [this](std::size_t bytes) {
                          ++buffers;
                          return Buffer::host(bytes);
                        }},
                   *store) {}

  void end(const Dispatcher::Work& work) {
    fill(work.index, work.gradient);
    dispatcher.pulled(work, work.version);
    apply(dispatcher.push(work));
  }
  void apply(const Dispatcher::Pushed& pushed) {
    if (!pushed.deposit.closes) return;
    store->apply(pushed.deposit.version);
    dispatcher.give_back(pushed.buffers);
  }
  void rest() {
    if (const auto last = dispatcher.close_short()) apply(*last);
  }
  std::vector<float> weights() const { return {store->weights(), store->weights() + kFloats}; }

  std::int64_t buffers = 0;
  LedgerRules rules;
  std::unique_ptr<Store> store;
  Dispatcher dispatcher;
};

/// What comes of `count` gradients in order, added at the end of each version.
std::vector<float> in_order(std::int64_t per_version, std::int64_t count) {
  Versions run(per_version, 1, true);
  run.dispatcher.open(count);
  while (const auto work = run.dispatcher.next()) run.end(*work);
  run.rest();
  return run.weights();
}

}  // namespace

TEST_CASE("whatever order gradients come in, and wherever the last version ends: the bits of the tree") {
  CHECK(rc::check("random orders", [] {
    const auto number = [](std::int64_t low, std::int64_t high) {
      return *rc::gen::inRange<std::int64_t>(low, high + 1);
    };
    const std::int64_t per_version = number(2, 40), count = number(1, 90);
    const int replicas = static_cast<int>(number(1, 6));
    Versions run(per_version, replicas, false);
    run.dispatcher.open(count);
    std::vector<Dispatcher::Work> begun;
    for (std::int64_t ended = 0; ended < count;) {
      const bool more = run.dispatcher.begun() < count && static_cast<int>(begun.size()) < replicas;
      if (more && run.dispatcher.can_begin() && (begun.empty() || number(0, 2) > 0)) {
        begun.push_back(*run.dispatcher.next());
        continue;
      }
      RC_ASSERT(!begun.empty());  // or nobody can go on
      const auto which = begun.begin() + number(0, static_cast<std::int64_t>(begun.size()) - 1);
      RC_ASSERT(run.dispatcher.can_push(*which));
      run.end(*which);
      begun.erase(which);
      ++ended;
    }
    run.rest();
    RC_ASSERT(run.weights() == in_order(per_version, count));
    RC_ASSERT(run.buffers == gradient_buffers(run.rules, false, replicas));
  }));
}

TEST_CASE("threads: the bits of the tree") {
  for (const std::int64_t per_version : {7, 16, 33}) {
    const std::vector<float> expected = in_order(per_version, 300);
    for (const int replicas : {1, 2, 4}) {
      Versions run(per_version, replicas, false);
      run.dispatcher.open(300);
      std::vector<std::thread> threads;
      for (int rank = 0; rank < replicas; ++rank) {
        threads.emplace_back([&] {
          while (const auto work = run.dispatcher.next()) run.end(*work);
        });
      }
      for (std::thread& thread : threads) thread.join();
      run.rest();
      CHECK(run.weights() == expected);
    }
  }
}

TEST_CASE("buffers grow with the logarithm of a version's gradients where they are known beforehand") {
  const LedgerRules known{.per_version = 1024, .bound = 0}, unknown{.per_version = 1024, .bound = 1};
  CHECK(gradient_buffers(known, false, 4) == 19);
  CHECK(gradient_buffers(known, true, 4) == 1027);
  CHECK(gradient_buffers(unknown, false, 4) == 1027);
  CHECK(gradient_buffers({.per_version = 4, .bound = 0}, false, 4) == 7);  // never more than without
  CHECK(gradient_buffers({}, false, 4) == 4);
}

TEST_CASE("blocks meet their siblings alone") {
  PartialSums sums;
  sums.put({.first = 4, .size = 1, .buffer = 1});
  CHECK_FALSE(sums.take_sibling({.first = 3, .size = 1, .buffer = 0}));
  CHECK_FALSE(sums.take_sibling({.first = 6, .size = 2, .buffer = 0}));
  CHECK(sums.take_sibling({.first = 5, .size = 1, .buffer = 0}) == Block{.first = 4, .size = 1, .buffer = 1});
  CHECK(sums.empty());
  for (const auto& [leaves, most] : {std::pair{1, 1}, {2, 2}, {7, 3}, {8, 4}}) CHECK(PartialSums::most(leaves) == most);
}

}  // namespace dptrain

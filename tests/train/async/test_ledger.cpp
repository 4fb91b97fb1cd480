// The staleness contract, on a virtual clock: the bound holds in ten thousand pushes of every kind of run, nothing
// deadlocks, and what the contract says of dropping, scaling and short versions is so.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>

#include "train/async/virtual_run.h"

namespace dptrain {

namespace {

using test::VirtualRun;

}  // namespace

TEST_CASE("10,000 pushes: the lag never exceeds its bound") {
  for (const std::int64_t bound : {0, 1, 2, 8}) {
    for (const OnStale on_stale : {OnStale::wait, OnStale::drop, OnStale::scale}) {
      for (const std::int64_t per_version : {1, 3, 8}) {
        for (const int replicas : {1, 2, 4, 12}) {
          CAPTURE(bound);
          CAPTURE(static_cast<int>(on_stale));
          CAPTURE(per_version);
          CAPTURE(replicas);
          VirtualRun run({.per_version = per_version, .bound = bound, .on_stale = on_stale}, replicas, test::one_slow);
          REQUIRE(run.run(10'000));
          CHECK(run.pushes == 10'000);
          CHECK(run.counts.max <= bound);
          CHECK(run.counts.gradients + run.counts.dropped == 10'000);
          CHECK((on_stale == OnStale::drop || run.counts.dropped == 0));
        }
      }
    }
  }
}

TEST_CASE("without a bound nobody waits, and the slow replica's gradients are as stale as it is slow") {
  VirtualRun run({}, 4, test::one_slow);
  REQUIRE(run.run(10'000));
  CHECK(run.counts.max >= 12);  // the three others make four each while it makes one
  CHECK(run.counts.max <= 16);
  CHECK(run.counts.histogram.size() == static_cast<std::size_t>(run.counts.max + 1));
  // Three and a quarter replicas' worth of work a second.
  CHECK(run.now < 10'000 / 3.25 * 1.1);
  CHECK(run.ledger.version() == 10'000);
}

TEST_CASE("a bound that is too tight for the slow replica makes the others wait for it") {
  VirtualRun tight({.bound = 2}, 4, test::one_slow), loose({.bound = 16}, 4, test::one_slow);
  REQUIRE(tight.run(2000));
  REQUIRE(loose.run(2000));
  CHECK(tight.now > 2 * loose.now);
}

TEST_CASE("drop discards what is too stale and makes nobody wait") {
  VirtualRun run({.bound = 4, .on_stale = OnStale::drop}, 4, test::one_slow);
  REQUIRE(run.run(10'000));
  CHECK(run.counts.dropped > 500);  // all of the slow replica's
  CHECK(run.counts.dropped < 1000);
  CHECK(run.now < 10'000 / 3.25 * 1.1);
}

TEST_CASE("scale weighs a gradient by one over one more than its lag") {
  std::int64_t seen = 0;
  VirtualRun::Events events;
  events.deposit = [&](std::int64_t, const Ledger::Deposit& deposit, const auto& closed) {
    CHECK(deposit.scale == 1 / (1 + static_cast<float>(deposit.lag)));
    for (const Ledger::Member& member : closed) seen += member.scale < 1 ? 1 : 0;
  };
  VirtualRun run({.per_version = 2, .bound = 8, .on_stale = OnStale::scale}, 4, test::one_slow, events);
  REQUIRE(run.run(1000));
  CHECK(seen > 100);
}

TEST_CASE("a version has its gradients in the order of their index, and each gradient is in one version") {
  std::vector<int> uses(1000);
  std::int64_t version = 0;
  VirtualRun::Events events;
  events.deposit = [&](std::int64_t, const Ledger::Deposit& deposit, const std::vector<Ledger::Member>& closed) {
    CHECK(deposit.version == version + 1);
    if (!deposit.closes) return;
    ++version;
    CHECK(closed.size() == 3);
    for (std::size_t k = 0; k < closed.size(); ++k) {
      ++uses[static_cast<std::size_t>(closed[k].index)];
      if (k > 0) CHECK(closed[k - 1].index < closed[k].index);
    }
  };
  VirtualRun run({.per_version = 3, .bound = 2}, 4, test::one_slow, events);
  REQUIRE(run.run(1000));
  CHECK(run.ledger.version() == 333);
  REQUIRE(run.ledger.close_short());  // the thousandth
  CHECK(run.ledger.closed().size() == 1);
  ++uses[static_cast<std::size_t>(run.ledger.closed().front().index)];
  CHECK_FALSE(run.ledger.close_short());
  CHECK(run.ledger.version() == 334);
  CHECK(std::count(uses.begin(), uses.end(), 1) == 1000);
}

TEST_CASE("with a bound of 0 a version is made of consecutive gradients that all read the one before") {
  std::int64_t first = 0;
  std::map<std::int64_t, std::int64_t> read;
  VirtualRun::Events events;
  events.pull = [&](std::int64_t index, std::int64_t version) { read[index] = version; };
  events.deposit = [&](std::int64_t, const Ledger::Deposit& deposit, const std::vector<Ledger::Member>& closed) {
    CHECK(deposit.lag == 0);
    for (const Ledger::Member& member : closed) {
      CHECK(member.index == first);
      CHECK(read[member.index] == deposit.version - 1);
      ++first;
    }
  };
  VirtualRun run({.per_version = 5, .bound = 0}, 3, test::one_slow, events);
  REQUIRE(run.run(1000));
  CHECK(first == 1000);
}

TEST_CASE("a gradient that is withdrawn makes way") {
  Ledger ledger({.bound = 1}, 7, 4);
  ledger.admit(0);
  ledger.admit(1);
  CHECK_FALSE(ledger.can_admit());  // one of three that read version 7 would have lag 2
  ledger.withdraw(0);
  CHECK(ledger.can_admit());
  ledger.admit(2);
  CHECK(ledger.deposit(2).lag == 0);
  CHECK(ledger.deposit(1).lag == 1);
  CHECK(ledger.at_rest());
  CHECK(ledger.version() == 9);
}

TEST_CASE("whoever comes when: never over the bound, never a deadlock") {
  CHECK(rc::check("random runs", [] {
    const auto number = [](std::int64_t low, std::int64_t high) {
      return *rc::gen::inRange<std::int64_t>(low, high + 1);
    };
    LedgerRules rules{.per_version = number(1, 6)};
    if (number(0, 4) > 0) rules.bound = number(0, 9);
    rules.on_stale = static_cast<OnStale>(number(0, 2));
    const int replicas = static_cast<int>(number(1, 9));
    // Heavy tails: a replica may fall behind by far.
    const auto seed = static_cast<std::uint64_t>(number(0, 1 << 30));
    const auto cost = [seed](int rank, std::int64_t index) {
      std::uint64_t x =
          seed + static_cast<std::uint64_t>(rank) * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(index);
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
      x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
      const double uniform = static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
      return 1 / (1.01 - uniform);
    };
    VirtualRun run(rules, replicas, cost);
    for (int segment = 0; segment < 3; ++segment) {
      RC_ASSERT(run.run(number(0, 200)));
      RC_ASSERT(run.ledger.at_rest());
      run.ledger.close_short();
    }
    if (rules.bound) RC_ASSERT(run.counts.max <= *rules.bound);
  }));
}

}  // namespace dptrain

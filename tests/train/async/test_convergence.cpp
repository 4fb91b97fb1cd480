// A convex problem with a known optimum, on the real store and ledger under the virtual clock: how near each contract
// comes to it, and what staleness without a bound does to a rate that is fine without it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "train/async/store/store.h"
#include "train/async/virtual_run.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFloats = 2000;

/// sum_i c_i (w_i - t_i)^2 / 2 with curvatures from 0.25 to 1; the gradient of a micro-batch has some noise in its
/// target.
float curvature(std::int64_t i) {
  return 0.25f + 0.75f * static_cast<float>(i) / static_cast<float>(kFloats - 1);
}
float optimum(std::int64_t i) {
  return static_cast<float>(i % 7) - 3;
}
float noise(std::int64_t index, std::int64_t i) {
  return 0.2f * (static_cast<float>((index * 31 + i * 17) % 101) / 50 - 1);
}

/// The largest distance of an element from its optimum after `count` micro-batches at rate `lr`.
double distance(const LedgerRules& rules, int replicas, float lr, std::int64_t count) {
  const auto store = make_locked_store({.floats = kFloats, .shards = 2});
  std::map<std::int64_t, std::vector<float>> weights, gradients;
  std::vector<std::int64_t> read(store->shards());
  test::VirtualRun::Events events;
  events.pull = [&](std::int64_t index, std::int64_t version) {
    weights[index].resize(static_cast<std::size_t>(kFloats));
    store->pull(weights[index].data(), version, read);
  };
  events.deposit = [&](std::int64_t index, const Ledger::Deposit& deposit, const std::vector<Ledger::Member>& closed) {
    std::vector<float>& w = weights[index];
    for (std::int64_t i = 0; i < kFloats; ++i)
      w[static_cast<std::size_t>(i)] = curvature(i) * (w[static_cast<std::size_t>(i)] - optimum(i) - noise(index, i));
    if (!deposit.dropped) gradients[index] = std::move(w);
    weights.erase(index);
    if (!deposit.closes) return;
    VersionUpdate update{.samples = static_cast<float>(closed.size()), .rule = SgdRule{.lr = lr}};
    for (const Ledger::Member& member : closed) update.leaves.push_back({gradients[member.index].data(), member.scale});
    store->announce(deposit.version, std::move(update));
    store->apply(deposit.version);
    for (const Ledger::Member& member : closed) gradients.erase(member.index);
  };
  test::VirtualRun run(rules, replicas, test::one_slow, events);
  REQUIRE(run.run(count));
  double largest = 0;
  for (std::int64_t i = 0; i < kFloats; ++i) {
    const double off = std::abs(static_cast<double>(store->weights()[i] - optimum(i)));
    largest = std::isfinite(off) ? std::max(largest, off) : INFINITY;
  }
  return largest;
}

}  // namespace

TEST_CASE("every contract ends within 0.05 of the optimum") {
  for (const OnStale on_stale : {OnStale::wait, OnStale::drop, OnStale::scale}) {
    for (const std::optional<std::int64_t> bound :
         {std::optional<std::int64_t>(), std::optional<std::int64_t>(1), std::optional<std::int64_t>(8)}) {
      for (const std::int64_t per_version : {1, 4}) {
        CHECK(distance({.per_version = per_version, .bound = bound, .on_stale = on_stale}, 4, 0.05f, 6000) < 0.05);
      }
    }
  }
}

TEST_CASE("a rate that is fine without staleness diverges without a bound, and converges again with one") {
  constexpr float kRate = 1.2f;  // below 2 / the largest curvature
  CHECK(distance({.per_version = 8, .bound = 0}, 4, kRate, 4000) < 0.3);
  CHECK(distance({}, 4, kRate, 4000) > 1e6);
  CHECK(distance({.bound = 0}, 4, kRate, 4000) < 0.3);
  CHECK(distance({.bound = 8, .on_stale = OnStale::scale}, 4, kRate / 3, 4000) < 0.3);
}

}  // namespace dptrain

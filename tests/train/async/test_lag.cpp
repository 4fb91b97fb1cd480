// Fast and slow replicas on a virtual clock, through the real dispatcher and store: 10,000 pushes of every kind of run.
// Lag is counted here once more, from what was read and what was applied, and the weights that were read are looked at.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "train/async/dispatcher.h"
#include "train/async/virtual_run.h"

namespace dptrain {

namespace {

constexpr std::int64_t kFloats = 1088, kPushes = 10'000;  // two shards

/// Replicas that load, read, compute and push, each at its time. Every gradient is one, and the rate is one.
class VirtualReplicas {
 public:
  VirtualReplicas(const LedgerRules& rules, int replicas, bool hogwild = false)
      : rules_(rules),
        store_((hogwild ? make_hogwild_store
                        : make_locked_store)({.floats = kFloats, .shards = 2, .most_at_once = replicas})),
        dispatcher_({.rules = rules,
                     .replicas = replicas,
                     .samples = [](std::int64_t) { return std::int64_t{1}; },
                     .rule = [](std::int64_t, double) { return SgdRule{.lr = 1}; },
                     .stop_at = [](std::int64_t next) { return next; }},
                    *store_),
        replicas_(static_cast<std::size_t>(replicas)) {}

  /// Micro-batches up to `limit`, and a rest. False where all wait and nobody is at work.
  bool run(std::int64_t limit) {
    dispatcher_.open(limit);
    for (;;) {
      while (everything_now()) {
      }
      Replica* first = nullptr;
      for (Replica& replica : replicas_) {
        const bool at_work = replica.state == State::loading || replica.state == State::computing;
        if (at_work && (first == nullptr || replica.until < first->until)) first = &replica;
      }
      if (first == nullptr) break;
      now_ = first->until;
      first->state = first->state == State::loading ? State::loaded : State::holding;
    }
    for (const Replica& replica : replicas_) {
      if (replica.state != State::idle) return false;
    }
    if (const auto rest = dispatcher_.close_short()) apply(*rest);
    return dispatcher_.begun() == limit;
  }

  const Dispatcher& dispatcher() const { return dispatcher_; }
  const Store& store() const { return *store_; }
  std::int64_t pushes = 0, largest_lag = 0, wrong_lags = 0, wrong_weights = 0;
  double now() const { return now_; }

 private:
  enum class State { idle, loading, loaded, computing, holding };
  struct Replica {
    State state = State::idle;
    Dispatcher::Work work;
    double until = 0;
    std::int64_t oldest = 0;
  };

  bool everything_now() {
    bool happened = false;
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      Replica& replica = replicas_[rank];
      if (replica.state == State::holding && dispatcher_.can_push(replica.work)) {
        push(replica);
        happened = true;
      }
      if (replica.state == State::idle && dispatcher_.can_begin()) {
        const auto work = dispatcher_.next();
        if (!work) continue;
        // Data take long now and then.
        replica = {State::loading, *work, now_ + (work->index % 97 == 0 ? 3.0 : 0.1), 0};
        happened = true;
      }
      if (replica.state == State::loaded) {
        read(replica);
        replica.state = State::computing;
        replica.until = now_ + test::one_slow(static_cast<int>(rank), replica.work.index);
        happened = true;
      }
    }
    return happened;
  }

  void read(Replica& replica) {
    std::array<float, kFloats> weights{};
    std::vector<std::int64_t> versions(store_->shards());
    store_->pull(weights.data(), replica.work.version, versions);
    replica.oldest = *std::min_element(versions.begin(), versions.end());
    for (std::size_t k = 0; k < versions.size(); ++k) {
      // Without scaling a version takes one off every weight.
      const Range shard = store_->shard(k);
      for (const std::int64_t place : {shard.first, shard.last - 1}) {
        const float off = weights[static_cast<std::size_t>(place)] + static_cast<float>(versions[k]);
        if (rules_.on_stale != OnStale::scale && off != 0) ++wrong_weights;
      }
    }
    dispatcher_.pulled(replica.work, replica.oldest);
  }

  void push(Replica& replica) {
    std::fill_n(replica.work.gradient, kFloats, 1.0f);
    const Dispatcher::Pushed pushed = dispatcher_.push(replica.work);
    CHECK(pushed.ticket == pushes);
    ++pushes;
    const std::int64_t lag = versions_ - replica.oldest;
    if (pushed.deposit.lag != lag) ++wrong_lags;
    if (pushed.deposit.dropped != (rules_.on_stale == OnStale::drop && rules_.bound && lag > *rules_.bound))
      ++wrong_lags;
    if (!pushed.deposit.dropped) largest_lag = std::max(largest_lag, lag);
    if (pushed.deposit.closes) apply(pushed);
    replica.state = State::idle;
  }

  void apply(const Dispatcher::Pushed& pushed) {
    ++versions_;
    CHECK(pushed.deposit.version == versions_);
    store_->apply(pushed.deposit.version);
    dispatcher_.give_back(pushed.buffers);
  }

  LedgerRules rules_;
  std::unique_ptr<Store> store_;
  Dispatcher dispatcher_;
  std::vector<Replica> replicas_;
  std::int64_t versions_ = 0;
  double now_ = 0;
};

}  // namespace

TEST_CASE("dispatcher and store, 10,000 pushes: the lag never exceeds its bound, and is what it is said to be") {
  for (const std::int64_t bound : {0, 1, 2, 8}) {
    for (const OnStale on_stale : {OnStale::wait, OnStale::drop, OnStale::scale}) {
      for (const std::int64_t per_version : {1, 4}) {
        for (const bool hogwild : {false, true}) {
          if (hogwild && (per_version > 1 || on_stale != OnStale::wait)) continue;
          CAPTURE(bound);
          CAPTURE(static_cast<int>(on_stale));
          CAPTURE(per_version);
          CAPTURE(hogwild);
          VirtualReplicas run({.per_version = per_version, .bound = bound, .on_stale = on_stale}, 4, hogwild);
          REQUIRE(run.run(kPushes / 2 + 3));  // a rest in the middle of a version
          REQUIRE(run.run(kPushes));
          CHECK(run.pushes == kPushes);
          CHECK(run.largest_lag <= bound);
          CHECK(run.wrong_lags == 0);
          CHECK(run.wrong_weights == 0);
          const StalenessCounts counts = run.dispatcher().counts();
          CHECK(counts.max == run.largest_lag);
          CHECK(counts.gradients + counts.dropped == kPushes);
          if (on_stale != OnStale::drop) CHECK(counts.dropped == 0);
          // Three fast replicas and a slow one use what the bound allows.
          if (on_stale == OnStale::wait && per_version == 1) CHECK(run.largest_lag == bound);
          if (on_stale == OnStale::wait && per_version == 1)
            CHECK(run.store().weights()[kFloats - 1] == -static_cast<float>(kPushes));
        }
      }
    }
  }
}

TEST_CASE("dispatcher and store without a bound: nobody waits") {
  VirtualReplicas run({}, 4), bounded({.bound = 2}, 4);
  REQUIRE(run.run(kPushes));
  REQUIRE(bounded.run(kPushes));
  CHECK(run.wrong_lags == 0);
  CHECK(run.wrong_weights == 0);
  CHECK(run.largest_lag >= 10);  // of the slow one
  CHECK(run.largest_lag <= 16);
  CHECK(bounded.now() > 1.5 * run.now());
}

}  // namespace dptrain

// Purpose: an asynchronous run on a virtual clock: replicas are numbers, each with a time that its micro-batches take,
//   and nothing sleeps or has threads. The Ledger and, where there is one, the Store are the real ones.
// Thread safety: one thread.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <vector>

#include "train/async/ledger.h"
#include "train/async/staleness.h"

namespace dptrain::test {

class VirtualRun {
 public:
  /// Seconds that replica `rank` takes for micro-batch `index`.
  using Cost = std::function<double(int rank, std::int64_t index)>;

  struct Events {
    std::function<void(std::int64_t index, std::int64_t version)> pull = [](auto, auto) {};
    std::function<void(std::int64_t index, const Ledger::Deposit&, const std::vector<Ledger::Member>& closed)> deposit =
        [](auto, const auto&, const auto&) {};
  };

  VirtualRun(const LedgerRules& rules, int replicas, Cost cost, Events events)
      : ledger(rules, 0, static_cast<std::size_t>(replicas)), cost_(std::move(cost)), events_(std::move(events)) {
    replicas_.resize(static_cast<std::size_t>(replicas));
  }
  VirtualRun(const LedgerRules& rules, int replicas, Cost cost)
      : VirtualRun(rules, replicas, std::move(cost), Events()) {}

  /// `count` micro-batches more. False where all wait and nobody computes: a deadlock.
  bool run(std::int64_t count) {
    for (const std::int64_t end = next_ + count; next_ < end || !ledger.at_rest();) {
      if (!begin_and_deposit(end)) {
        Replica* first = nullptr;  // to be done
        for (Replica& replica : replicas_) {
          if (replica.state == State::computing && (first == nullptr || replica.done < first->done)) first = &replica;
        }
        if (first == nullptr) return false;
        now = first->done;
        first->state = State::holding;
      }
    }
    return true;
  }

  Ledger ledger;
  StalenessCounts counts;
  std::int64_t pushes = 0;
  double now = 0;

 private:
  enum class State { idle, computing, holding };  // holding: a gradient that is to be deposited
  struct Replica {
    State state = State::idle;
    std::int64_t index = 0;
    double done = 0;
  };

  /// Everything that can happen now; whether anything did.
  bool begin_and_deposit(std::int64_t end) {
    bool happened = false;
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      Replica& replica = replicas_[rank];
      if (replica.state == State::holding && ledger.can_deposit(replica.index)) {
        const Ledger::Deposit deposit = ledger.deposit(replica.index);
        ++pushes;
        if (deposit.dropped)
          ++counts.dropped;
        else
          counts.add(deposit.lag);
        events_.deposit(replica.index, deposit, deposit.closes ? ledger.closed() : none_);
        replica.state = State::idle;
        happened = true;
      }
      if (replica.state == State::idle && next_ < end && ledger.can_admit()) {
        replica = {State::computing, next_++, 0};
        events_.pull(replica.index, ledger.admit(replica.index));
        replica.done = now + cost_(static_cast<int>(rank), replica.index);
        happened = true;
      }
    }
    return happened;
  }

  Cost cost_;
  Events events_;
  std::vector<Replica> replicas_;
  std::vector<Ledger::Member> none_;
  std::int64_t next_ = 0;
};

/// Replica 0 is four times as slow as the others, and every micro-batch takes a little more or less.
inline double one_slow(int rank, std::int64_t index) {
  return (rank == 0 ? 4.0 : 1.0) * (1 + 0.1 * static_cast<double>(index * 7919 % 13) / 13);
}

}  // namespace dptrain::test

// Purpose: the staleness contract as a pure state machine: who may read the store, who may add a gradient to the
//   version that is being made, and how stale each gradient is. It knows no threads, no clock and no weights, so that
//   tests can drive it. Lag as rules.md defines it; the bound is that of stale synchronous parallel (Ho et al., "More
//   effective distributed ML via a stale synchronous parallel parameter server", 2013), several gradients a version are
//   n-softsync and the scale is that of Zhang et al., "Staleness-aware async-SGD for distributed deep learning", 2016.
// Thread safety: one user at a time; the Dispatcher's mutex guards it.
// Invariants: under `wait` and `scale` with a bound no deposited gradient's lag exceeds it, and while gradients are
//   outstanding one of them can be deposited: the one with the earliest deadline.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "spec/job_spec.h"

namespace dptrain {

struct LedgerRules {
  std::int64_t per_version = 1;         ///< gradients that make a version
  std::optional<std::int64_t> bound{};  ///< of the lag; empty: unbounded
  OnStale on_stale = OnStale::wait;
};

class Ledger {
 public:
  /// `version` versions have been made before; at most `most` gradients are outstanding at a time.
  Ledger(const LedgerRules& rules, std::int64_t version, std::size_t most);

  /// Versions made so far.
  std::int64_t version() const { return version_; }
  const LedgerRules& rules() const { return rules_; }
  bool at_rest() const { return outstanding_.empty(); }
  /// Gradients of the version that is being made.
  std::int64_t open() const { return static_cast<std::int64_t>(open_.size()); }

  /// Whether one more gradient may be begun: with those that are outstanding it can be deposited within the bound.
  bool can_admit() const;
  /// Gradient `index` is begun; what it reads is of version() or later.
  std::int64_t admit(std::int64_t index);
  /// The oldest version that it did read.
  void pulled(std::int64_t index, std::int64_t version);

  struct Deposit {
    std::int64_t lag = 0;
    std::int64_t version = 0;  ///< the one that it is part of, where it was not dropped
    float scale = 1;           ///< of its sum
    bool dropped = false;
    bool closes = false;  ///< it made the version complete: version() has moved on
  };
  /// Whether those that are outstanding beside it stay within the bound. Where not, others can be deposited before it.
  bool can_deposit(std::int64_t index) const;
  Deposit deposit(std::int64_t index);
  /// Gradient `index` will not be deposited after all.
  void withdraw(std::int64_t index);

  /// A gradient of a version, and what its sum is multiplied with.
  struct Member {
    std::int64_t index = 0;
    float scale = 1;
  };
  /// Of the version that was closed last, by index, until the next deposit.
  const std::vector<Member>& closed() const { return closed_; }
  /// Closes the open version where it has members, though it lacks some. At rest. Whether there was one.
  bool close_short();

  /// At rest, with no version open.
  void change_rules(const LedgerRules& rules);

 private:
  struct Reader {
    std::int64_t index = 0, version = 0;
  };
  bool bounded() const { return rules_.bound && rules_.on_stale != OnStale::drop; }
  /// Whether the outstanding gradients but `without`, and one more that reads now where `one_more`, can all be
  /// deposited within the bound when `ahead` others have been.
  bool feasible(std::int64_t without, std::int64_t ahead, bool one_more) const;
  void remove(std::int64_t index);
  void sort();
  void close();

  LedgerRules rules_;
  std::int64_t version_;
  std::vector<Reader> outstanding_;  // by the version read: the earliest deadline first
  std::vector<Member> open_, closed_;
};

}  // namespace dptrain

// Purpose: hands out the micro-batches of an asynchronous run in order, and takes in their gradients: the Ledger under
//   a mutex, with the waiting that it asks for, and the gradient buffers, which belong to a version until it is
//   applied, or until they are added to others of it.
// Thread safety: every member, from any thread, but for open(), close_short() and change_rules(), which are called
//   while every replica is at rest. Invariants: micro-batches are begun in the order of their index; every one that is
//   begun is pushed or withdrawn.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "train/async/ledger.h"
#include "train/async/partial_sums.h"
#include "train/async/staleness.h"
#include "train/async/store/store.h"

namespace dptrain {

/// The parts of gradients and weights that other hosts have: what is done with buffers and versions here is done there,
/// in this order, by others.
class OtherParts {
 public:
  virtual ~OtherParts() = default;

  /// Buffer `right` is added to buffer `left`. Returns at once, as announce() does, with what wait() can be called
  /// with.
  virtual std::int64_t add(int left, int right) = 0;
  /// The version is this, its leaves being in `buffers`, and is applied.
  virtual std::int64_t announce(std::int64_t version, const VersionUpdate& update, const std::vector<int>& buffers) = 0;
  /// Until that is done everywhere. Errors: GroupAborted.
  virtual void wait(std::int64_t number) = 0;
};

struct DispatcherConfig {
  LedgerRules rules{};
  std::int64_t version = 0;  ///< of the store
  std::int64_t next = 0;     ///< the first micro-batch's index
  int replicas = 1;
  bool skips = false;                                         ///< gradients may be withdrawn, and the run goes on
  StalenessCounts counts{};                                   ///< of the run so far
  std::function<std::int64_t(std::int64_t index)> samples{};  ///< of a micro-batch
  /// The learning rate that makes version + 1 of a version, after so many gradients that were left out; and with it the
  /// update.
  std::function<double(std::int64_t version, std::int64_t left_out)> rate = [](std::int64_t, std::int64_t) {
    return 0.0;
  };
  std::function<UpdateRule(std::int64_t version, double rate)> rule{};
  /// The index at which a run that is asked to stop may rest, once all before `next` were begun.
  std::function<std::int64_t(std::int64_t next)> stop_at{};
  std::function<Buffer(std::size_t bytes)> allocate = &Buffer::host;
  OtherParts* others = nullptr;  ///< where there are any
};

/// Whether it is known beforehand which micro-batches make a version: then their sums are added as they come.
bool folds_gradients(const LedgerRules& rules, bool skips);
/// Gradients that are in memory at a time. Without folding one for each replica, and those of an open version that
/// lacks one gradient; with it enough for replicas that are a little out of step: one that is far ahead of the slowest
/// waits.
std::int64_t gradient_buffers(const LedgerRules& rules, bool skips, std::int64_t replicas);

class Dispatcher {
 public:
  /// Announces versions to `store`, which must outlive it, as other parts must.
  Dispatcher(DispatcherConfig config, Store& store);

  /// A micro-batch that was begun, and the place for its gradient.
  struct Work {
    std::int64_t index = 0;
    std::int64_t version = 0;  ///< it may read nothing older; 0 where it may read anything
    int buffer = 0;
    float* gradient = nullptr;
  };
  /// Micro-batches below `limit` may be begun.
  void open(std::int64_t limit);
  /// The next one, when the contract admits it; nothing where those below the limit are all begun. Errors:
  /// GroupAborted.
  std::optional<Work> next();
  /// It has read the weights, the oldest of which are of version `oldest`. Once, before push().
  void pulled(const Work& work, std::int64_t oldest);
  /// Moves the limit to the earliest place where the run can stop.
  void stop();

  struct Pushed {
    std::int64_t ticket = 0;  ///< counts what was pushed, in order
    Ledger::Deposit deposit;
    std::vector<int> buffers;    ///< of the version that it closed; the caller applies it and gives them back
    double rate = 0;             ///< of that version
    std::int64_t elsewhere = 0;  ///< with which others can be waited for until they have applied it
    double adding = 0;           ///< seconds in which it was added to others
  };
  /// Waits where the contract says so. Errors: GroupAborted.
  Pushed push(const Work& work);
  /// The gradient is of no use.
  void withdraw(const Work& work);
  void give_back(const std::vector<int>& buffers);

  /// Closes a version that lacks gradients, where there is one; the caller applies it.
  std::optional<Pushed> close_short();
  void change_rules(const LedgerRules& rules);
  std::int64_t begun() const;
  std::int64_t version() const;
  StalenessCounts counts() const;
  /// A replica has failed: nobody waits any longer.
  void abandon();
  /// Whether next() and push() would return at once: for a clock of one's own, on one thread.
  bool can_begin() const;
  bool can_push(const Work& work) const;

 private:
  void check() const;
  bool admits() const;
  bool takes(const Work& work) const { return abandoned_ || ledger_.can_deposit(work.index); }
  /// The version that the ledger closed last goes to the store; what becomes of its buffers, and its rate, into
  /// `pushed`.
  void announce(Pushed& pushed);
  bool folds() const { return folds_gradients(ledger_.rules(), config_.skips); }
  /// The gradient is added to what is there beside it, and the last one of a version makes it one sum. The lock is let
  /// go meanwhile.
  double fold(std::unique_lock<std::mutex>& lock, const Work& work);  // seconds
  void fold_rest(std::unique_lock<std::mutex>& lock);
  /// The right one's sum is added to the left one's, of which it is the other part, and its buffer is free.
  Block add(std::unique_lock<std::mutex>& lock, const Block& left, const Block& right);
  void make_buffers();
  int buffer_of(std::int64_t index) const;

  DispatcherConfig config_;
  Store& store_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Ledger ledger_;
  StalenessCounts counts_;
  std::int64_t next_, limit_, tickets_ = 0;
  bool abandoned_ = false;
  std::vector<Buffer> gradients_;
  std::vector<std::int64_t> owner_;  // of each buffer: the micro-batch, or -1
  PartialSums blocks_;               // of the open version
  std::int64_t base_;                // its first micro-batch, where it is known
};

}  // namespace dptrain

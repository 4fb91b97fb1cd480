// Purpose: the replicas of a run meet here: those of one process as its threads, and the processes of its host where
//   there are more. A barrier, and the way in which the first error stops all.
// Thread safety: every member may be called from any replica's thread.
// Invariants: after abort() no replica waits any longer: barriers, present and future, throw GroupAborted.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include "comm/communicator.h"

namespace dptrain {

class LocalGroup {
 public:
  /// `size` replicas in this process; `processes` are its peers and outlive the group, null: none.
  explicit LocalGroup(int size, Communicator* processes = nullptr);
  LocalGroup(const LocalGroup&) = delete;
  LocalGroup& operator=(const LocalGroup&) = delete;

  int size() const { return size_; }

  /// Returns when all replicas of this host have called it. What any of them wrote before is visible to all after.
  /// Spins for a few microseconds where there is a core for every replica, then sleeps. Errors: GroupAborted.
  void barrier() {
    barrier([this] {
      if (processes_ != nullptr) processes_->host_barrier();
    });
  }
  /// The same for the replicas of this process alone; when all are there, one of them calls `between`, and then they go
  /// on. Where it throws, that is the group's failure. This is where processes talk to each other.
  template <class Between>
  void barrier(Between&& between);

  /// Makes `error` the group's failure, unless there is one already, and wakes everybody.
  void abort(std::exception_ptr error);
  /// The first failure, null where there was none.
  std::exception_ptr error() const;
  /// Whether nobody is to wait any longer.
  bool aborted() const { return aborted_.load(std::memory_order_acquire); }

 private:
  void check() const {
    if (aborted_.load(std::memory_order_acquire)) throw GroupAborted{};
  }
  void open();                     // lets those that wait go on
  void wait(std::uint32_t phase);  // until that phase is over

  const int size_;
  Communicator* const processes_;
  const int spins_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
  std::atomic<bool> aborted_{false};
  mutable std::mutex mutex_;
  std::exception_ptr error_;
};

template <class Between>
void LocalGroup::barrier(Between&& between) {
  // The phase is read first: an abort that comes before the check is seen by it, one that comes later changes this
  // phase.
  const std::uint32_t phase = phase_.load(std::memory_order_acquire);
  check();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 != size_) return wait(phase);
  arrived_.store(0, std::memory_order_relaxed);
  try {
    std::forward<Between>(between)();
  } catch (const GroupAborted&) {
    abort(nullptr);  // the reason comes from elsewhere
    throw;
  } catch (...) {
    abort(std::current_exception());
    throw GroupAborted{};
  }
  open();
}

}  // namespace dptrain

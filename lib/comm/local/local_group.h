// Purpose: replicas that are threads of one process meet here: a barrier, and the way in which the first error stops all.
// Thread safety: every member may be called from any replica's thread.
// Invariants: after abort() no replica waits any longer: barriers, present and future, throw GroupAborted.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>

namespace dptrain {

/// Thrown out of a barrier where another replica has failed; the failure itself is LocalGroup::error().
struct GroupAborted {};

class LocalGroup {
 public:
  explicit LocalGroup(int size);
  LocalGroup(const LocalGroup&) = delete;
  LocalGroup& operator=(const LocalGroup&) = delete;

  int size() const { return size_; }

  /// Returns when all replicas have called it. What any of them wrote before is visible to all after. Spins for a few
  /// microseconds where there is a core for every replica, then sleeps. Errors: GroupAborted.
  void barrier();

  /// Makes `error` the group's failure, unless there is one already, and wakes everybody.
  void abort(std::exception_ptr error);
  /// The first failure, null where there was none.
  std::exception_ptr error() const;

 private:
  void check() const {
    if (aborted_.load(std::memory_order_acquire)) throw GroupAborted{};
  }

  const int size_;
  const int spins_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> phase_{0};
  std::atomic<bool> aborted_{false};
  mutable std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace dptrain

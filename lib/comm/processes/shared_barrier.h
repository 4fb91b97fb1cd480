// Purpose: processes of one host meet here, in memory that they share. Thread safety: one thread of each process.
// Invariants: zeroed memory is a barrier at which nobody waits.
#pragma once

#include <atomic>
#include <cstdint>

namespace dptrain {

class SharedBarrier {
 public:
  /// Returns when `size` processes have called it. Spins `spins` times, then sleeps; wakes now and then to see whether
  /// it is `interrupted`: then returns false, and the barrier is of no more use.
  bool wait(int size, int spins, const std::atomic<bool>& interrupted);

 private:
  alignas(64) std::atomic<std::uint32_t> arrived_;
  alignas(64) std::atomic<std::uint32_t> phase_;
  static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
};

}  // namespace dptrain

#include "comm/processes/shared_barrier.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

#include "core/spin.h"

namespace dptrain {

namespace {

// Not std::atomic's wait(): that is for the threads of one process.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  const timespec most{.tv_sec = 0, .tv_nsec = 20'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &most, nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

bool SharedBarrier::wait(int size, int spins, const std::atomic<bool>& interrupted) {
  if (interrupted.load(std::memory_order_acquire)) return false;
  const std::uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<std::uint32_t>(size)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.fetch_add(1, std::memory_order_release);
    if (size > 1) wake_all(phase_);
    return true;
  }
  for (int turn = 0; turn < spins; ++turn) {
    if (phase_.load(std::memory_order_acquire) != phase) return true;
    spin();
  }
  while (phase_.load(std::memory_order_acquire) == phase) {
    if (interrupted.load(std::memory_order_acquire)) return false;
    sleep_while(phase_, phase);
  }
  return true;
}

}  // namespace dptrain

#include "train/faults/watchdog.h"

#include <algorithm>
#include <chrono>

#include "core/clock.h"

namespace dptrain {

Watchdog::Watchdog(int replicas, double deadline_seconds, Late late)
    : deadline_(deadline_seconds), late_(std::move(late)), replicas_(static_cast<std::size_t>(replicas)) {
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::begin(int rank, std::int64_t step) {
  Replica& replica = replicas_[static_cast<std::size_t>(rank)];
  replica.step.store(step, std::memory_order_relaxed);
  replica.since.store(steady_seconds(), std::memory_order_release);
}

void Watchdog::end(int rank) {
  replicas_[static_cast<std::size_t>(rank)].since.store(0, std::memory_order_release);
}

void Watchdog::pause(int rank) {
  Replica& replica = replicas_[static_cast<std::size_t>(rank)];
  const double since = replica.since.exchange(0, std::memory_order_acq_rel);
  replica.spent = since == 0 ? 0 : std::max(steady_seconds() - since, 1e-9);
}

void Watchdog::resume(int rank) {
  Replica& replica = replicas_[static_cast<std::size_t>(rank)];
  if (replica.spent > 0) replica.since.store(steady_seconds() - replica.spent, std::memory_order_release);
}

void Watchdog::forgive(double seconds) {
  for (Replica& replica : replicas_) {
    double since = replica.since.load(std::memory_order_acquire);
    while (since != 0 && !replica.since.compare_exchange_weak(since, since + seconds, std::memory_order_acq_rel)) {
    }
  }
}

void Watchdog::watch() {
  constexpr double kLooks = 8;  // a deadline
  const double period = deadline_ / kLooks;
  std::unique_lock lock(mutex_);
  for (double before = steady_seconds();
       !changed_.wait_for(lock, std::chrono::duration<double>(period), [this] { return over_; });) {
    const double now = steady_seconds();
    // Who was late itself was stopped, and so were the replicas: that is no time of theirs.
    if (const double lost = now - before - period; lost > std::max(1.0, period)) forgive(lost);
    before = now;
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      const double since = replicas_[rank].since.load(std::memory_order_acquire);
      if (since == 0 || now - since < deadline_) continue;
      late_(static_cast<int>(rank), replicas_[rank].step.load(std::memory_order_relaxed));
      return;
    }
  }
}

}  // namespace dptrain

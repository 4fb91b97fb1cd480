#include "train/watchdog.h"

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

void Watchdog::watch() {
  constexpr double kLooks = 8;  // a deadline
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::duration<double>(deadline_ / kLooks), [this] { return over_; })) {
    const double now = steady_seconds();
    for (std::size_t rank = 0; rank < replicas_.size(); ++rank) {
      const double since = replicas_[rank].since.load(std::memory_order_acquire);
      if (since == 0 || now - since < deadline_) continue;
      late_(static_cast<int>(rank), replicas_[rank].step.load(std::memory_order_relaxed));
      return;
    }
  }
}

}  // namespace dptrain

#include "comm/local/local_group.h"

#include <thread>

#include "core/spin.h"

namespace dptrain {

LocalGroup::LocalGroup(int size, Communicator* processes)
    : size_(size),
      processes_(processes == nullptr || processes->alone() ? nullptr : processes),
      spins_(static_cast<unsigned>(size) <= std::thread::hardware_concurrency() ? 2000 : 0) {}

void LocalGroup::open() {
  if (size_ == 1) return;
  phase_.fetch_add(1, std::memory_order_release);
  phase_.notify_all();
}

void LocalGroup::wait(std::uint32_t phase) {
  for (int turn = 0; turn < spins_; ++turn) {
    if (phase_.load(std::memory_order_acquire) != phase) return check();
    spin();
  }
  while (phase_.load(std::memory_order_acquire) == phase) phase_.wait(phase, std::memory_order_acquire);
  check();
}

void LocalGroup::abort(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  aborted_.store(true, std::memory_order_release);
  phase_.fetch_add(1, std::memory_order_release);
  phase_.notify_all();
}

std::exception_ptr LocalGroup::error() const {
  const std::lock_guard lock(mutex_);
  return error_;
}

}  // namespace dptrain

#include "comm/nccl/last_resort.h"

#include <cstdio>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace dptrain {

LastResort::LastResort(std::chrono::nanoseconds patience, std::string why) noexcept : why_(std::move(why)) {
  try {
    thread_ = std::thread([this, patience] { wait(patience); });
  } catch (const std::system_error&) {
    // No thread can be had: what follows goes on without this.
  }
}

LastResort::~LastResort() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void LastResort::wait(std::chrono::nanoseconds patience) noexcept {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, patience, [this] { return over_; })) return;
  std::fprintf(stderr, "dptrain: %s; the process ends, because a GPU does not come back\n", why_.c_str());
  std::_Exit(static_cast<int>(ExitStatus::retry));
}

}  // namespace dptrain

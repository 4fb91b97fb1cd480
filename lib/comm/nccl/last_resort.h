// Purpose: the end of a process whose thread waits inside a library that may never come back, and cannot be
//   interrupted.
// Thread safety: its own thread's. Invariants: none of it is left when the scope ends in time.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace dptrain {

class LastResort {
 public:
  /// Where the scope has not ended after `patience`: says `why` on standard error and ends the process with
  /// ExitStatus::retry.
  LastResort(std::chrono::nanoseconds patience, std::string why) noexcept;
  ~LastResort();
  LastResort(const LastResort&) = delete;
  LastResort& operator=(const LastResort&) = delete;

 private:
  void wait(std::chrono::nanoseconds patience) noexcept;

  std::string why_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace dptrain

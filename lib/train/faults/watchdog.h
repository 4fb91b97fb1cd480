// Purpose: `faults.step_deadline`: a thread that notices a replica which has been at its part of a step for too long.
//   Such a replica cannot be stopped or waited for: whoever is told must end the process.
// Thread safety: begin(), end(), pause() and resume() belong to each replica's own thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace dptrain {

class Watchdog {
 public:
  /// `late(rank, step)` is called once, on the watchdog's thread.
  using Late = std::function<void(int rank, std::int64_t step)>;

  Watchdog(int replicas, double deadline_seconds, Late late);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void begin(int rank, std::int64_t step);
  void end(int rank);
  /// In the midst of its part the replica waits for others, who may be late, while it is not. Between steps: nothing.
  void pause(int rank);
  void resume(int rank);

 private:
  struct alignas(64) Replica {
    std::atomic<double> since{0};  // steady_seconds(); 0: not at a step
    std::atomic<std::int64_t> step{0};
    double spent = 0;  // of its part when it was paused; 0: it was not
  };
  void watch();
  void forgive(double seconds);  // all replicas, who were stopped for so long

  const double deadline_;
  const Late late_;
  std::vector<Replica> replicas_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace dptrain

// Purpose: every process of a job knows within a deadline that another one has failed, hangs or is gone, and that the launcher
//   is: each has a thread that tells the first process over a connection of its own (TCP) that it lives, and hears the same from
//   it. MPI notices no process that hangs.
// Thread safety: any thread. Invariants: `told` is called at most once; a process that goes on for four seconds after it, or
//   after its own fail(), is ended.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"

namespace dptrain {

/// A connection that frames come from, in pieces.
struct PeerLink {
  int socket = -1;
  std::string received{}, unsent{};
  double heard = 0;        ///< steady_seconds()
  std::int64_t step = -1;  ///< that it was at then
  bool confirmed = false;  ///< both know each other; before that a peer may go, and come by another address
  bool done = false;       ///< it has said that it ends, and may go
};

class PeerWatch {
 public:
  /// `processes` carries the address of the first process to the others. Errors: failed where one cannot reach it.
  PeerWatch(Communicator& processes, std::function<void(const News&)> told);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  void set_deadline(double seconds) { deadline_.store(seconds); }
  void at_step(std::int64_t step) noexcept { step_.store(step, std::memory_order_relaxed); }
  void fail(ExitStatus status, const std::string& text) noexcept;
  /// See Communicator.
  void let_first_end() noexcept;
  /// The job ends well: from now on others may go; all of them have the deadline to do so.
  void end();

 private:
  struct Frame;
  void connect(Communicator& processes);
  void stop();
  void watch();
  void greet();
  void hear(int rank, PeerLink& link);
  bool introduces(const Frame& frame) const;
  void take(int rank, PeerLink& link, const Frame& frame, const std::string& text);
  void send(PeerLink& link, int kind, int rank, int status, const std::string& text);
  void send_rest(PeerLink& link);
  void to_all(int kind, int rank, int status, const std::string& text, int but);
  void look(double now);
  void look_at_end(double now);
  void end_in_time(double now);
  void lost(int rank, const std::string& how);
  void tell(ExitStatus status, std::string text, bool speaks);
  /// Whether it is this process that says what all of its host see; the first one's end is another's to say.
  bool speaks() const;

  const std::vector<Member> members_;
  const int rank_;
  const std::function<void(const News&)> told_;
  const int parent_;
  std::atomic<double> deadline_{60};
  std::atomic<std::int64_t> step_{-1};
  std::uint64_t token_[2] = {};
  int listener_ = -1, wake_ = -1;
  std::vector<PeerLink> links_;  // the first process: by rank; the others: to the first
  std::vector<PeerLink> strangers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool crowded_ = false;  // no stranger is let in before the next tick
  bool over_ = false, ending_ = false, flushed_ = false;
  std::string failure_;  // to be sent
  int failure_status_ = 0;
  bool failed_ = false;
  double failed_at_ = 0, ended_at_ = 0;
  double late_ = 0;  // when this process was found to have been stopped itself: others may have given it up
  double told_at_ = 0;
  News news_;
  std::thread thread_;
};

}  // namespace dptrain

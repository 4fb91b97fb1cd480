// Purpose: every process of a job knows within a deadline that another one has failed, hangs or is gone, and that the
//   launcher is: each has a thread that tells the first process over a connection of its own (TCP) that it lives, and
//   hears the same from it. MPI notices no process that hangs.
// Thread safety: any thread. Invariants: `told` is called at most once; a process that goes on for four seconds after
//   it, or after its own fail(), is ended.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/communicator.h"
#include "comm/processes/peer_link.h"
#include "comm/processes/peer_listener.h"

namespace dptrain {

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
  void connect(Communicator& processes);
  void stop();
  void watch();
  void hear(int rank, PeerLink& link);
  void welcome(std::size_t rank, PeerLink link);
  void take(int rank, PeerLink& link, const PeerFrame& frame, const std::string& text);
  PeerFrame frame(PeerWord word, int rank, int status) const;
  void to_all(PeerWord word, int rank, int status, const std::string& text, int but);
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
  PeerToken token_{};
  int wake_ = -1;
  std::optional<PeerListener> listener_;  // the first process's
  std::vector<PeerLink> links_;           // the first process: by rank; the others: to the first
  std::mutex mutex_;
  std::condition_variable changed_;
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

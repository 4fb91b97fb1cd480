// Purpose: in the first process of an asynchronous run a thread for each replica of the others: there it draws
//   micro-batches, reads the store and pushes, as the threads of the first process's own replicas do for themselves.
// Thread safety: one user. Invariants: no thread is left when it ends.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "train/async/executor.h"

namespace dptrain {

class Proxies {
 public:
  /// `work` is called by each for its executor, up to the next rest.
  using Work = std::function<void(Executor& executor)>;

  Proxies(Run& run, AsyncRun& async);
  ~Proxies();
  Proxies(const Proxies&) = delete;
  Proxies& operator=(const Proxies&) = delete;

  void start(const Work& work);
  /// When all of them are at rest. Errors: theirs; GroupAborted.
  void join();

 private:
  void live(Executor& executor, const Work& work);

  Run& run_;
  std::vector<std::unique_ptr<Executor>> executors_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::exception_ptr error_;  // the first
};

}  // namespace dptrain

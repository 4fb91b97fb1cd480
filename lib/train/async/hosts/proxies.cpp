#include "train/async/hosts/proxies.h"

#include <omp.h>

#include "train/float_mode.h"

namespace dptrain {

Proxies::Proxies(Run& run, AsyncRun& async) : run_(run) {
  for (int rank = run.here.last; rank < run.placement.replicas; ++rank)
    executors_.push_back(make_remote_executor(run, async, rank));
}

Proxies::~Proxies() {
  if (threads_.empty()) return;
  run_.strategy->abandon(run_);  // something is wrong: nobody waits any longer
  for (std::thread& thread : threads_) thread.join();
}

void Proxies::start(const Work& work) {
  for (const std::unique_ptr<Executor>& executor : executors_)
    threads_.emplace_back([this, work, &executor = *executor] { live(executor, work); });
}

void Proxies::live(Executor& executor, const Work& work) {
  omp_set_num_threads(1);
  flush_denormals();  // updates are made here
  try {
    work(executor);
    executor.rest();
  } catch (const GroupAborted&) {
    run_.strategy->abandon(run_);
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
    run_.group.abort(std::current_exception());
    run_.strategy->abandon(run_);
  }
}

void Proxies::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  if (error_) std::rethrow_exception(error_);
  if (run_.group.error()) throw GroupAborted{};
}

}  // namespace dptrain

#include "train/checkpoint/checkpointer.h"

#include "core/error.h"
#include "core/in_words.h"

namespace dptrain {

Checkpointer::Checkpointer(std::filesystem::path run_folder, std::int64_t keep,
                           std::function<void(const std::string&)> warn)
    : run_folder_(std::move(run_folder)), keep_(keep), warn_(std::move(warn)) {
  thread_ = std::thread([this] { work(); });
}

Checkpointer::~Checkpointer() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Checkpointer::save(Make make) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !waiting_; });
  waiting_ = std::move(make);
  changed_.notify_all();
}

void Checkpointer::finish(const RunState& state, const Make& make) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !waiting_ && !busy_; });
  }
  if (saved_ == state.step) {
    try {
      rewrite_state(run_folder_, state);
      prune_checkpoints(run_folder_, keep_, state.step, kept_steps(state));
      return;
    } catch (const Error&) {
      // Perhaps a file system without links; a real reason comes up again.
    }
  }
  write(make());
}

void Checkpointer::write(const Snapshot& snapshot) {
  write_checkpoint(run_folder_, snapshot);
  saved_ = snapshot.state.step;
  prune_checkpoints(run_folder_, keep_, snapshot.state.step, kept_steps(snapshot.state));
}

void Checkpointer::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return waiting_ || over_; });
    if (!waiting_) return;
    Make make = std::move(*waiting_);
    waiting_.reset();
    busy_ = true;
    changed_.notify_all();
    lock.unlock();
    try {
      try {
        write(make());
      } catch (const std::exception& error) {  // memory may run out, too
        warn_(fmt::format("a checkpoint was not saved, training goes on: {}", in_words(error)));
      }
    } catch (...) {
      // What takes warnings has failed as well, and there is nobody else to tell: the last checkpoint says it again.
    }
    make = nullptr;  // and its copies
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace dptrain

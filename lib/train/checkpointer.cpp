#include "train/checkpointer.h"

#include "core/error.h"

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

void Checkpointer::finish(const Make& make) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !waiting_ && !busy_; });
  }
  write(make());
}

void Checkpointer::write(const Snapshot& snapshot) {
  write_checkpoint(run_folder_, snapshot);
  prune_checkpoints(run_folder_, keep_, snapshot.state.step, snapshot.state.best_step);
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
      write(make());
    } catch (const std::exception& error) {  // memory may run out, too
      warn_(fmt::format("a checkpoint was not saved, training goes on: {}", error.what()));
    }
    make = nullptr;  // and its copies
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace dptrain

// Purpose: who keeps a part of an asynchronous run's store for the first process of the job: it obeys that one's orders, and serves
//   the replicas of all processes, each by a thread of its own.
// Thread safety: pull() and push() by any thread of this process; serve() once. Invariants: orders are obeyed in the order in which
//   they come; after cut() nobody waits any longer.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "comm/line.h"
#include "train/async/hosts/part_messages.h"
#include "train/async/store/store.h"

namespace dptrain {

class PartKeeper {
 public:
  /// `store` has the part, and begins with `version`. Buffers for so many gradients at a time. `failed` is told, by any thread, what
  /// went wrong, where it is no line that was cut: who is at the other end of that knows better.
  PartKeeper(Store& store, std::int64_t version, std::int64_t buffers, std::function<void(std::exception_ptr)> failed);
  ~PartKeeper();
  PartKeeper(const PartKeeper&) = delete;
  PartKeeper& operator=(const PartKeeper&) = delete;

  /// From now on: orders from one line, requests of replicas from the others. The lines outlive this.
  void serve(const Line& orders, const std::vector<const Line*>& replicas);

  /// As Store::pull(), when that version is announced. Errors: GroupAborted.
  void pull(float* to, std::int64_t at_least, std::span<std::int64_t> read);
  /// The part of a gradient is put into a buffer.
  void push(int buffer, const float* part);
  /// The norm of all parts together: the store asks for it.
  double norm(const std::vector<double>& squares);
  void cut() noexcept;
  /// Cuts, and its threads are over when it returns.
  void end() noexcept;

 private:
  void start(void (PartKeeper::*live)(const Line&), const Line& line);
  void obey(const Line& line);
  void add(int left, int right);
  void apply(const PartOrder& order, const Line& line);
  void answer(const Line& line);
  std::size_t bytes() const { return static_cast<std::size_t>(store_.part().count()) * sizeof(float); }

  Store& store_;
  const std::function<void(std::exception_ptr)> failed_;
  std::vector<Buffer> gradients_;  // of the part alone
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t announced_;
  bool cut_ = false;
  std::vector<const Line*> lines_;  // the orders' first
  std::vector<std::thread> threads_;
};

}  // namespace dptrain

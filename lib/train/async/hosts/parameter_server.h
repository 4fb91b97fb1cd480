// Purpose: keeps a part of an asynchronous run's store (a parameter server: Li et al., "Scaling Distributed Machine
//   Learning with the Parameter Server", OSDI 2014): it obeys the commands of the job's first process, and serves the
//   replicas of all processes, each by a thread of its own.
// Thread safety: pull() and push() by any thread of this process; serve() once. Invariants: commands are obeyed in the
//   order in which they come; after cut() nobody waits any longer.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "comm/connection.h"
#include "train/async/hosts/server_messages.h"
#include "train/async/store/store.h"

namespace dptrain {

class ParameterServer {
 public:
  /// `store` has the part, and begins with `version`. Buffers for so many gradients at a time. `failed` is told, by any
  /// thread, what went wrong, where it is no connection that was cut: who is at the other end of that knows better.
  ParameterServer(Store& store, std::int64_t version, std::int64_t buffers,
                  std::function<void(std::exception_ptr)> failed);
  ~ParameterServer();
  ParameterServer(const ParameterServer&) = delete;
  ParameterServer& operator=(const ParameterServer&) = delete;

  /// From now on: commands from one connection, requests of replicas from the others. The connections outlive this.
  void serve(const Connection& commands, const std::vector<const Connection*>& replicas);

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
  void start(void (ParameterServer::*live)(const Connection&), const Connection& connection);
  void obey(const Connection& connection);
  void add(int left, int right);
  void apply(const ServerCommand& command, const Connection& connection);
  void answer(const Connection& connection);
  std::size_t bytes() const { return static_cast<std::size_t>(store_.part().count()) * sizeof(float); }

  Store& store_;
  const std::function<void(std::exception_ptr)> failed_;
  std::vector<Buffer> gradients_;  // of the part alone
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t announced_;
  bool cut_ = false;
  std::vector<const Connection*> connections_;  // the commands' first
  std::vector<std::thread> threads_;
};

}  // namespace dptrain

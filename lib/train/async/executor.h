// Purpose: a replica as the loop of mode async sees it, in this process or in another one: it computes the gradient of
//   the micro-batch that it is given.
// Thread safety: each belongs to a thread of its own.
#pragma once

#include <functional>
#include <memory>

#include "comm/connection.h"
#include "train/async/async_run.h"

namespace dptrain {

class Executor {
 public:
  Executor(int rank, Buffer weights) : rank_(rank), weights_(std::move(weights)) {}
  virtual ~Executor() = default;

  int rank() const { return rank_; }
  /// Where it wants the weights.
  float* weights() const { return weights_.floats(); }
  /// The gradient is in work.gradient on return, this host's part of it at least; other hosts have theirs. `read` is
  /// called when its samples are there, and before it computes: waiting for them makes no gradient stale. Errors: the
  /// replica's, with its name; GroupAborted.
  virtual Replica::Gradient gradient(const Dispatcher::Work& work, const std::function<void()>& read) = 0;
  /// Where its weights are read: the parts that other hosts keep; which versions of their shards, into `read`.
  virtual void read_other_parts(const Dispatcher::Work& work, std::span<std::int64_t> read) = 0;
  /// The first parameter in backward's order of whose gradient something is not finite; null where there is none. After
  /// gradient().
  virtual const Parameter* not_finite(const Dispatcher::Work& work) const = 0;
  /// Nothing more comes before the next rest is over.
  virtual void rest() {}

 private:
  const int rank_;
  const Buffer weights_;
};

/// A replica of this process.
std::unique_ptr<Executor> make_executor(Run& run, AsyncRun& async, int rank, Replica& replica);
/// One of another process, in the first one: what it computes there with serve(), which the connection between them
/// leads to. Where that process sees this one's memory nothing but a few words goes over it.
std::unique_ptr<Executor> make_remote_executor(Run& run, AsyncRun& async, int rank);
/// The other end: until the first process says that the run rests. Errors: as Executor::gradient().
void serve(Run& run, AsyncRun& async, int rank, Replica& replica);

}  // namespace dptrain

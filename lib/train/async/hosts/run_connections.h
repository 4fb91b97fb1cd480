// Purpose: the connections of an asynchronous run in several processes, and who speaks at their ends.
// Thread safety: open_connections() by one thread of each process, all together; ConnectionNumbers is a value.
//   Invariants: all processes number the connections alike.
#pragma once

#include <cstddef>

#include "train/async/async_run.h"

namespace dptrain {

/// The connections of a run in several processes, by number: from the first process to those of other replicas; its
/// commands to those that keep parts of the store; and from each replica to those. There is none within a process.
class ConnectionNumbers {
 public:
  ConnectionNumbers(int replicas, std::size_t parts)
      : replicas_(static_cast<std::size_t>(replicas)), others_(parts - 1) {}
  std::size_t replica(int rank) const { return static_cast<std::size_t>(rank); }
  /// Part 1 and so on, as the store has them.
  std::size_t commands(std::size_t part) const { return replicas_ + part - 1; }
  std::size_t requests(int rank, std::size_t part) const {
    return replicas_ + others_ * (1 + static_cast<std::size_t>(rank)) + part - 1;
  }
  std::size_t count() const { return replicas_ + others_ * (1 + replicas_); }

 private:
  const std::size_t replicas_, others_;
};

/// Opens async.connections; from then on the first process gives commands to those that keep parts of the store, which
/// serve all replicas. The store begins with `version`; `gradients` are in memory at a time. Errors: failed where
/// somebody cannot be reached.
void open_connections(Run& run, AsyncRun& async, std::int64_t version, std::int64_t gradients);

}  // namespace dptrain

// Purpose: the processes of a job, to each other: rank, size, what they exchange, and how the end of one ends all. A
//   process by itself has one too, with nothing to do, so that nobody asks whether there are others.
// Thread safety: one thread of a process at a time (local/local_group.h sees to it in a run); interrupt() and at_step()
//   any thread.
// Invariants: results do not depend on timing; after interrupt() nobody waits any longer: waits, present and future,
//   throw GroupAborted.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/connection.h"
#include "comm/messages.h"
#include "core/error.h"
#include "device/buffer.h"

namespace dptrain {

/// Thrown out of a wait where another replica or process has failed; the failure itself is LocalGroup::error().
struct GroupAborted {};

/// One of the processes.
struct Member {
  int launcher_rank = 0;  ///< the launcher's number for it
  int host_first = 0;     ///< the first rank of its host: the same for all that share memory
  std::string host;
  /// "rank 3 on node7".
  std::string name() const { return fmt::format("rank {} on {}", launcher_rank, host); }
};

/// Why nobody is to wait any longer. One of the processes has said it already, on standard error.
struct News {
  ExitStatus status = ExitStatus::retry;
  std::string text;
};

/// The two processes of a connection: the one that waits to be reached, and the one that reaches it.
struct ConnectionEnds {
  int listens = 0, opens = 0;
};

class Communicator {
 public:
  virtual ~Communicator() = default;

  /// Processes of one host have ranks that follow each other.
  virtual int rank() const = 0;
  virtual const std::vector<Member>& members() const = 0;  ///< by rank
  int size() const { return static_cast<int>(members().size()); }
  bool alone() const { return size() == 1; }
  const Member& self() const { return members()[static_cast<std::size_t>(rank())]; }
  bool first_of_host() const { return rank() == self().host_first; }
  /// The first rank of each host, in order.
  std::vector<int> hosts() const;

  /// Returns when all processes of this host have called it, and what any of them wrote into shared memory is seen by
  /// all.
  virtual void host_barrier() = 0;
  /// `bytes` of every process to all, in order of rank. It is a host_barrier() as well.
  virtual void all_gather(const void* mine, std::size_t bytes, void* all) = 0;
  /// See Messages::exchange().
  virtual void exchange(std::span<const Message> sends, std::span<const Message> receives) = 0;
  /// Zeroed memory that all processes of this host see, on a cache line. Errors: failed where there is not enough.
  virtual Buffer share(std::size_t bytes) = 0;

  /// The connections that are asked for, by number: null where it is not this process's, or both ends are one process.
  /// All processes together, with the same ends. Errors: failed where one cannot be reached.
  virtual std::vector<std::unique_ptr<Connection>> connections(std::span<const ConnectionEnds> ends) = 0;

  /// How long a process may be silent before it counts as lost.
  virtual void set_deadline(double seconds) = 0;
  /// What the others are told of this process.
  virtual void at_step(std::int64_t step) noexcept = 0;
  /// Tells the others that this process has failed, and waits until that is sent.
  virtual void fail(ExitStatus status, const std::string& text) noexcept = 0;
  /// `told` is called once, on another thread, when one of the others has failed or is lost, at once where that is
  /// known already; a process that then has not ended after four seconds is ended. An empty one is called no more on
  /// return.
  virtual void listen(std::function<void(const News&)> told) = 0;
  /// What has interrupted this process; null: nothing.
  virtual const News* news() const = 0;
  /// Before a process ends by an error: waits until the first one has ended, which has more to say and to write, and
  /// which the launcher would end with this one; for seconds at most.
  virtual void let_first_end() noexcept = 0;
  /// The end of a job that all processes come to together.
  virtual void close() = 0;
};

/// A process that nobody has started together with others.
std::unique_ptr<Communicator> make_alone();
/// The processes that the launcher has started. Errors: as open_messages(); failed where they cannot reach each other.
std::unique_ptr<Communicator> join_processes();

/// Entries of an array of which each belongs to one process, from all to all: `owner(i)` is who has entry i. All
/// processes together, with the same owners.
template <class T, class Owner>
void share_entries(Communicator& processes, std::span<T> entries, Owner&& owner) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto size = static_cast<std::size_t>(processes.size());
  if (size == 1) return;
  std::vector<std::size_t> counts(size);
  for (std::size_t i = 0; i < entries.size(); ++i) ++counts[static_cast<std::size_t>(owner(i))];
  const std::size_t most = *std::max_element(counts.begin(), counts.end());
  std::vector<T> mine(most), all(most * size);
  std::size_t next = 0;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (owner(i) == processes.rank()) mine[next++] = entries[i];
  processes.all_gather(mine.data(), most * sizeof(T), all.data());
  for (std::size_t r = 0; r < size; ++r) counts[r] = r * most;
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = all[counts[static_cast<std::size_t>(owner(i))]++];
}

}  // namespace dptrain

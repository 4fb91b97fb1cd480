// Purpose: what is asked of the library that carries messages between the processes of a job, and no more:
//   lib/comm/mpi/ asks MPI. Everything else about processes is made of it in comm/processes/.
// Thread safety: one thread at a time, any (MPI_THREAD_SERIALIZED). Invariants: only memory of the host is handed over.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

namespace dptrain {

/// Bytes for a process, or from one. Between two processes they match in order and size.
struct Message {
  int rank = 0;
  void* bytes = nullptr;
  std::size_t count = 0;
};

class Messages {
 public:
  virtual ~Messages() = default;

  /// In an order in which the processes of a host follow each other; rank 0 is the launcher's.
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// The number that the launcher knows this process by.
  virtual int launcher_rank() const = 0;
  /// The rank of the first process on this host.
  virtual int host_first() const = 0;
  /// How many of this host there are: they can share memory.
  virtual int host_size() const = 0;

  /// `bytes` from every process to every other, in order of rank. All processes together. Waits with `idle`, which may
  /// throw.
  virtual void all_gather(const void* mine, std::size_t bytes, void* all, const std::function<void()>& idle) = 0;
  /// Sends and receives all of these; none may be to itself. Returns when all memory is the caller's again. Likewise.
  virtual void exchange(std::span<const Message> sends, std::span<const Message> receives,
                        const std::function<void()>& idle) = 0;
  /// Memory that all processes of this host see, theirs until close(); null where there is not enough. All of them
  /// together.
  virtual void* share(std::size_t bytes) = 0;
  /// The end, all processes together.
  virtual void close() = 0;
};

/// Joins the processes that the launcher has started. `share`: whether those of a host share memory; otherwise each is
/// a host.
/// Errors: usage where this build has no MPI, or it cannot be loaded; retry where MPI fails.
std::unique_ptr<Messages> open_messages(bool share);

}  // namespace dptrain

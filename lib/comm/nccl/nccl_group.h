// Purpose: the GPUs of this process as ranks of one NCCL communicator, alone or together with other processes: in-place
//   sums of float ranges, and exchanges of slices, enqueued on streams.
// Thread safety: a Communicator's operations belong to one thread, that of its GPU; abort() and async_error() may be
//   called from any thread at any time (a watchdog). Every rank must enqueue the same operations in the same order.
// Invariants: the host waits for the GPU nowhere but in NcclGroup::close(); while NCCL sets something up it waits for
//   at most the group's patience, and asks `idle` whether it still should. NCCL is never asked to block: its
//   communicators are made with blocking = 0, because a call that may block inside the library could not be given up
//   when a peer is gone, and only then may abort() be called from another thread.
#pragma once

#include <nccl.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/element_type.h"

namespace dptrain::nccl {

/// Throws unless `result` is a success: Error(retry) where a peer or the way to it is lost, otherwise Error(failed);
/// with `what` and NCCL's words.
void check(ncclResult_t result, const char* what);

/// The version of NCCL that is loaded, as it counts them: 22809 is 2.28.9. Errors: as check().
int library_version();

/// A range of floats on its way to or from another rank.
struct Send {
  int peer = 0;
  const float* values = nullptr;
  std::int64_t count = 0;
};
struct Receive {
  int peer = 0;
  float* values = nullptr;
  std::int64_t count = 0;
};
/// A part of a buffer; slice r is rank r's.
struct Slice {
  std::int64_t first = 0, count = 0;
};

/// One rank, one GPU. Its operations throw Error(retry) where the communicator was aborted or a peer is lost, and
/// Error(failed) where NCCL refuses them.
class Communicator {
 public:
  Communicator(int rank, int size, int device, std::chrono::nanoseconds patience, std::function<void()> idle)
      : rank_(rank), size_(size), device_(device), patience_(patience), idle_(std::move(idle)) {}
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int device() const { return device_; }

  /// values[i] becomes the sum over the ranks, in an order that is NCCL's own; of 16 bits it rounds at each addition.
  void all_reduce(void* values, std::int64_t count, cudaStream_t stream, ElementType type = ElementType::float32);
  /// All at once, none waiting for another; nothing is sent to oneself. Ranges that are received must not overlap any
  /// other.
  void exchange(std::span<const Send> sends, std::span<const Receive> receives, cudaStream_t stream);
  /// In place: each rank brings its slice of the buffer and leaves with all of them. One slice a rank; they may be
  /// empty.
  void all_gather(float* values, std::span<const Slice> slices, cudaStream_t stream);
  /// Several of them at once, which costs the host as little as one.
  void all_gather(float* values, std::span<const std::vector<Slice>> groups, cudaStream_t stream);

  /// What went wrong behind an operation's back, in NCCL's words; empty where nothing did.
  std::string async_error();
  /// Ends what is under way on the GPU, and frees the communicator. Every rank must do so once one has.
  void abort() noexcept;

 private:
  friend class NcclGroup;
  template <class Call>
  void call(const char* what, const Call& enqueue);
  ncclResult_t state();
  /// Waits until NCCL has finished what it does in the background, and checks what came of it.
  void settle(const char* what);
  [[noreturn]] void give_up(const char* what);

  const int rank_, size_, device_;
  const std::chrono::nanoseconds patience_;
  const std::function<void()> idle_;
  std::mutex mutex_;  // held for calls into NCCL, all of which return at once
  ncclComm_t handle_ = nullptr;
  bool aborted_ = false;
};

class NcclGroup {
 public:
  /// What the ranks of several processes must have in common; one of them makes it and gives it to the others.
  static ncclUniqueId make_id();

  /// All ranks in this process, rank i on devices[i].
  explicit NcclGroup(std::span<const int> devices, std::chrono::nanoseconds patience = std::chrono::minutes(1));
  /// Ranks first_rank, first_rank + 1, ... of `size` in this process. Waits for the others. `idle` is called over and
  /// over while the group or one of its ranks waits for NCCL, on the thread that waits, and may throw.
  /// Errors: Error(retry) where they do not come in time, Error(failed) with NCCL's reason.
  NcclGroup(const ncclUniqueId& id, int size, int first_rank, std::span<const int> devices,
            std::chrono::nanoseconds patience = std::chrono::minutes(1), const std::function<void()>& idle = {});
  /// Closes, and aborts where that fails.
  ~NcclGroup();

  int local_ranks() const { return static_cast<int>(ranks_.size()); }
  /// Counted from this process's first.
  Communicator& rank(int local) { return *ranks_[static_cast<std::size_t>(local)]; }

  /// Waits until what was enqueued on all ranks is done, and frees the communicators. Nothing happens the second time,
  /// or after an abort.
  void close();
  /// Ends what is under way on all ranks. NCCL's own abort may wait for what stands in line before its kernels, and
  /// with it for what hangs: where it has not come back after ten seconds, the process says `why` and ends with status
  /// 75.
  void abort(const std::string& why = "") noexcept;

 private:
  void create(const ncclUniqueId& id);

  std::vector<std::unique_ptr<Communicator>> ranks_;
};

}  // namespace dptrain::nccl

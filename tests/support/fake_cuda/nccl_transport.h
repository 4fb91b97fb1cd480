// Purpose: what the NCCL double moves, and the few functions in which its two builds differ.
// Thread safety: Exchange's members are written before they are posted and read by whoever moves the data.
#pragma once

#include <nccl.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/fake_cuda/nccl_mail.h"

namespace fake_nccl {

[[noreturn]] inline void misuse(const std::string& what) {
  throw std::logic_error("NCCL double: " + what);
}

enum class Kind { all_reduce, all_gather, broadcast, point_to_point };

/// One rank's part in an exchange.
struct Part {
  const void* send = nullptr;
  void* receive = nullptr;
  cudaStream_t stream = nullptr;
  int device = 0;
  bool posted = false;               ///< under the double's mutex
  std::atomic<bool> arrived{false};  ///< the stream has come to it
  std::atomic<bool> given_up{false};
};

/// A collective, or a message (part 0 sends, part 1 receives). With ranks of other processes every rank has one of its
/// own, of which it fills its own part.
struct Exchange {
  Exchange(Kind the_kind, std::size_t ranks) : kind(the_kind), parts(ranks) {}
  Kind kind;
  std::size_t count = 0, element = 0;  ///< elements, bytes of each
  ncclDataType_t type = ncclFloat32;
  int root = 0;
  std::vector<Part> parts;
  std::atomic<bool> done{false};
  std::atomic<bool> broken{false};  ///< a rank has given up: it will never be done
  std::unique_ptr<Mail> mail;       ///< where there are ranks in other processes
};

/// Bytes and sums, wherever they are.
class Mover {
 public:
  virtual ~Mover() = default;
  virtual void copy(const void* from, void* to, std::size_t bytes) = 0;
  virtual void add(const void* from, void* onto, std::size_t count, ncclDataType_t type) = 0;
};
/// The data movement of an exchange whose ranks are all there; sums are in the order of the ranks.
void move(Exchange& exchange, Mover& mover);

struct Posted {
  std::shared_ptr<Exchange> exchange;
  std::size_t part = 0;
};

// ---- what differs --------------------------------------------------------------------------------------------------

/// All that one rank has put on one stream in one call or group of calls. Called under the double's mutex.
void post(cudaStream_t stream, const std::vector<Posted>& parts);
/// Whether what was posted is on its streams, so that the call is no longer in progress.
bool enqueued(const Posted& part);
/// Gives queued work a chance to run where nothing runs by itself.
void encourage(cudaStream_t stream);
/// Those who wait shall look again: something was given up.
void wake_waiters();

}  // namespace fake_nccl

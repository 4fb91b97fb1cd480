// Purpose: a fixed ring of batches ahead of one replica. A worker thread names the next batch's samples, gathers and
//   normalises them into a free slot; the replica takes slots in order and gives them back.
// Thread safety: next() and release() belong to the replica's thread. Invariants: slots never move; nothing is allocated
//   after construction; batches come in the order in which the source names them.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include "data/dataset.h"
#include "device/buffer.h"

namespace dptrain {

struct Batch {
  std::span<const std::int64_t> ids;
  const float* samples = nullptr;        ///< (ids.size(), sample shape), row-major
  const std::int32_t* labels = nullptr;  ///< ids.size()
};

class Loader {
 public:
  /// Writes the ids of the replica's next batch to the front of the span and returns how many; 0 after the last.
  using Source = std::function<std::size_t(std::span<std::int64_t>)>;

  /// Where samples lie: at least so many bytes, at a multiple of 64, kept for as long as the loader lives.
  using Allocate = std::function<Buffer(std::size_t)>;

  /// `slots` batches of at most `largest_batch` samples. Without a worker the replica fills a slot itself when it asks.
  Loader(const Dataset& dataset, Source source, std::int64_t largest_batch, std::int64_t slots, bool worker,
         const Allocate& allocate = &Buffer::host);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch, valid until release(). Waits for the worker. Errors: what the source or the dataset throw.
  const Batch& next();
  void release();
  /// From now on batches come from `source`; those that were loaded ahead are forgotten. Between release() and next().
  void restart(Source source);

 private:
  struct Slot {
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> labels;
    Buffer samples;
    Batch batch;
  };
  bool fill(Slot& slot);  // false after the last
  void work();
  void stop();

  const Dataset& dataset_;
  Source source_;
  std::vector<Slot> slots_;
  alignas(64) std::atomic<std::uint64_t> filled_{0};    // slots filled so far, by the worker
  alignas(64) std::atomic<std::uint64_t> released_{0};  // slots given back so far, by the replica
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> end_{~std::uint64_t{0}};  // slots that will ever be filled, once that is known
  std::exception_ptr error_;  // why no more, where it is not the source's end; written before end_
  std::thread worker_;
};

}  // namespace dptrain

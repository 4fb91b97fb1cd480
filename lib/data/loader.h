// Purpose: a fixed ring of batches ahead of one replica. Worker threads name the next batches' samples, in turn, and
//   gather (and decode and augment) and normalise them into free slots, each its own; the replica takes slots in order
//   and gives them back.
// Thread safety: next(), release() and restart() belong to the replica's thread. Invariants: slots never move; nothing
//   is allocated after construction; batches come in the order in which the source names them, whoever filled them.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
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
  /// What a source named: how many ids, and for datasets that augment the stream of (seed, augment, epoch) to draw
  /// from.
  struct Named {
    Named(std::size_t count_) : count(count_) {}  // NOLINT: tests and plain datasets name a count alone
    Named(std::size_t count_, const RandomStream& draws_) : count(count_), draws(draws_) {}
    std::size_t count = 0;
    std::optional<RandomStream> draws;
  };
  /// Writes the ids of the replica's next batch to the front of the span and says how many; 0 after the last. Called by
  /// one thread at a time.
  using Source = std::function<Named(std::span<std::int64_t>)>;

  /// Where samples lie: at least so many bytes, at a multiple of 64, kept for as long as the loader lives.
  using Allocate = std::function<Buffer(std::size_t)>;

  /// `slots` batches of at most `largest_batch` samples; with workers no fewer than they need. Without workers the
  /// replica fills a slot itself when it asks.
  Loader(const Dataset& dataset, Source source, std::int64_t largest_batch, std::int64_t slots, int workers,
         const Allocate& allocate = &Buffer::host);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch, valid until release(). Waits for the workers. Errors: what the source or the dataset throw, after
  /// the batches before it.
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
    bool is_end = false;                  // there is no such batch: the source's end, or
    std::exception_ptr error;             // why it could not be filled
    std::atomic<std::uint64_t> ready{0};  // k + 1 once batch k is in it
  };
  Named name(Slot& slot);
  /// Names the next batch and says which it is, once there is a slot for it; empty after the last.
  std::optional<std::pair<std::uint64_t, Named>> claim();
  void work();
  void start();
  void stop();

  const Dataset& dataset_;
  Source source_;
  std::vector<Slot> slots_;
  std::mutex claims_;                                   // guards the source and the two below
  std::uint64_t claimed_ = 0;                           // batches named so far
  bool is_over_ = false;                                // nothing more will be named
  alignas(64) std::atomic<std::uint64_t> released_{0};  // slots given back so far, by the replica
  std::atomic<bool> stop_{false};
  bool ended_ = false;        // the replica has seen the end, or
  std::exception_ptr error_;  // an error
  int workers_;
  std::vector<std::thread> threads_;
};

/// The samples and labels of the first named.count of `ids`, which hold them; as a batch.
Batch gather_named(const Dataset& dataset, const Loader::Named& named, std::span<const std::int64_t> ids,
                   float* samples, std::int32_t* labels);

}  // namespace dptrain

// Purpose: batches ahead of several replicas that draw from one sequence: worker threads load them in the order of
//   their index, and whoever has drawn an index takes its batch and keeps it for as long as it needs, while the others
//   go on.
// Thread safety: take() and a lease's end, from any thread. Invariants: slots never move; nothing is allocated after
//   construction; what is loaded of an index does not depend on who loads it or when.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "data/loader.h"

namespace dptrain {

class SharedLoader {
 public:
  /// Writes the ids of batch `index` to the front of the span; a count of 0 behind the last. Called by any thread.
  using Name = std::function<Loader::Named(std::int64_t index, std::span<std::int64_t> ids)>;

  struct Config {
    std::int64_t first = 0;          ///< index
    std::int64_t largest_batch = 0;  ///< samples
    int readers = 1;                 ///< batches that are out at a time, at most
    std::int64_t ahead = 0;          ///< batches that wait for a reader, at most; with workers no fewer than these
    int workers = 0;                 ///< 0: the reader loads it in take()
    Loader::Allocate allocate = &Buffer::host;
  };
  SharedLoader(const Dataset& dataset, Name name, const Config& config);
  ~SharedLoader();
  SharedLoader(const SharedLoader&) = delete;
  SharedLoader& operator=(const SharedLoader&) = delete;

 private:
  struct Slot;

 public:
  /// A batch, which is the reader's until this ends.
  class Lease {
   public:
    Lease(Lease&& other) noexcept : loader_(other.loader_), slot_(std::exchange(other.slot_, nullptr)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (slot_ != nullptr) loader_.give_back(*slot_);
    }
    const Batch& batch() const;

   private:
    friend class SharedLoader;
    Lease(SharedLoader& loader, Slot& slot) : loader_(loader), slot_(&slot) {}
    SharedLoader& loader_;
    Slot* slot_;
  };
  /// Batch `index`, once it is loaded. Each is taken once, by a reader that holds no other; with workers all from the
  /// first on are taken, in whatever order. Errors: what naming or the dataset throws.
  Lease take(std::int64_t index);

 private:
  enum class State { free, loading, loaded, out };
  struct Slot {
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> labels;
    Buffer samples;
    Batch batch;
    State state = State::free;
    std::int64_t index = -1;
    std::exception_ptr error;  // why it could not be loaded
  };
  Slot* find(State state, std::int64_t index);
  Slot* find_free();
  /// False behind the last index.
  bool load(Slot& slot);
  void work();
  void stop();
  void give_back(Slot& slot);

  const Dataset& dataset_;
  const Name name_;
  const int workers_;
  std::mutex mutex_;
  std::condition_variable freed_, loaded_;  // for workers, for readers
  std::vector<std::unique_ptr<Slot>> slots_;
  std::int64_t next_;  // index that is loaded next
  bool over_ = false;  // nothing more is to be loaded
  std::vector<std::thread> threads_;
};

}  // namespace dptrain

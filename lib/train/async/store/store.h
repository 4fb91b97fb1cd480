// Purpose: where the weights and the optimizer's state of an asynchronous run lie, in the host's memory, cut into
//   shards. Versions are announced in order, and applied by whoever comes first. On several hosts each has a store with
//   a part of the shards.
// Thread safety: announce() is called in order, under the Dispatcher's mutex; pull() and apply() by any replica's
//   thread; the rest while nobody else is at work. A thread pulls or applies up to versions that were announced before
//   it left the mutex last.
// Invariants: a version's gradients are added in the tree's order over their index, divided by their samples together,
//   clipped, and applied once to every element: the arithmetic of a synchronous step.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "device/buffer.h"
#include "kernels/update_ranges.h"
#include "kernels/update_rules.h"
#include "train/micro_batches.h"

namespace dptrain {

/// What a version is made of.
struct VersionUpdate {
  struct Leaf {
    float* gradient =
        nullptr;  ///< the part's, of the sum over a micro-batch; not read by others until the version is applied
    float scale = 1;
  };
  std::vector<Leaf> leaves{};  ///< by index of the micro-batch
  float samples = 1;           ///< of all of them
  UpdateRule rule{};
};

/// One of the parts that a store is cut into.
struct StorePart {
  int number = 0, count = 1;
};

/// The norm of what these are the squares of, added in order.
double norm_of(std::int64_t version, const std::vector<double>& squares);

struct StoreConfig {
  std::int64_t floats = 0;
  int state_buffers = 0;
  UpdateRanges ranges{};              ///< how they are treated; none is updated as a whole
  std::int64_t shards = 1;            ///< of all parts, at most; there is none without a chunk of 1024 floats
  StorePart part{};                   ///< that is here; no more of them than shards
  std::int64_t version = 0;           ///< that it begins with
  int most_at_once = 1;               ///< threads that apply versions
  std::optional<double> clip_norm{};  ///< of a version's mean gradient
  /// The norm of a version's mean gradient, from the squares of this part's chunks: where there are others, they are
  /// asked. Called once a version, by who applies it.
  std::function<double(std::int64_t version, const std::vector<double>& squares)> norm = &norm_of;
  /// Where the buffers lie: pinned memory, say, for GPUs.
  std::function<Buffer(std::size_t bytes)> allocate = &Buffer::host;
  /// For tests: the locked store's pull() has read a shard, and holds no lock.
  std::function<void(std::size_t shard)> shard_read{};
};

/// What shards a store of so many floats has, at most `wanted`: boundaries at multiples of a chunk, sizes even.
std::vector<Range> cut_shards(std::int64_t floats, std::int64_t wanted);
/// The shards that a part has: consecutive ones, by number.
Range shards_of(std::size_t shards, const StorePart& part);

class Store {
 public:
  explicit Store(const StoreConfig& config);
  virtual ~Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  std::int64_t floats() const { return config_.floats; }
  /// Of this part, and so are all that follow.
  std::size_t shards() const { return shards_.size(); }
  /// Shard k in floats.
  Range shard(std::size_t k) const { return shards_[k]; }
  Range part() const { return {shards_.front().first, shards_.back().last}; }
  /// The flat weights, all of them, of which this part is kept here; and of state buffer k the part. Only where nobody
  /// else is at work.
  float* weights() const { return weights_.floats(); }
  float* state(int k) const { return state_[k].floats(); }

  /// Version `version` is this, from here on; the one before has been announced.
  void announce(std::int64_t version, VersionUpdate update);
  /// Copies the part's weights to `to`, each shard of version `at_least` or later; which, into read[shard].
  virtual void pull(float* to, std::int64_t at_least, std::span<std::int64_t> read) = 0;
  /// The announced version `version` is applied everywhere when it returns. Called once for each, by whoever closed it.
  virtual void apply(std::int64_t version) = 0;

 protected:
  struct Slot {
    std::atomic<std::int64_t> version{-1};  // -1: free
    VersionUpdate update;
    float factor = 1;                 // of clipping
    bool collapsed = false;           // its first leaf is the mean
    std::atomic<bool> ready = false;  // the two are known
  };
  /// Of a version that is announced, and whose apply() has not returned.
  Slot& slot(std::int64_t version) const;
  /// What has to be known of a whole version before any of it is applied.
  void prepare(Slot& slot);
  /// Where floats from `offset` on stand in a vector of this part alone.
  std::int64_t place(std::int64_t offset) const { return offset - part().first; }
  /// The gradient that floats [offset, offset + count) of the version's update take, at most a chunk; in `scratch` or
  /// in a leaf.
  const float* gradient(const Slot& slot, std::int64_t offset, std::int64_t count, float* scratch) const;

  const StoreConfig config_;
  std::vector<Range> shards_;
  Buffer weights_, state_[2];

 private:
  /// T(lo, hi) over the version's leaves, for one chunk: a leaf itself, or the sum in scratch[depth].
  const float* tree_sum(const std::vector<VersionUpdate::Leaf>& leaves, int lo, int hi, std::int64_t offset,
                        std::int64_t count, float* scratch) const;
  /// The mean gradient is left in the first leaf; the squares of each chunk, of what is trained.
  std::vector<double> collapse(VersionUpdate& update) const;

  const std::size_t slot_count_;  // as many as threads: each applies one version at a time
  const std::unique_ptr<Slot[]> slots_;
};

/// A lock a shard. Versions come to a shard in order; whoever holds its lock applies those that are missing, so that
/// nobody waits for a thread that has fallen behind.
std::unique_ptr<Store> make_locked_store(const StoreConfig& config);

/// No locks (Niu et al., "Hogwild!", 2011): replicas read and write elements at the same time, by relaxed atomic
/// accesses; an update may be lost to another. A pull notes how many versions, all in order, were applied completely
/// before it.
std::unique_ptr<Store> make_hogwild_store(const StoreConfig& config);

}  // namespace dptrain

// The store with a lock a shard.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "kernels/cpu/apply_update.h"
#include "train/async/store/store.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

class LockedStore final : public Store {
 public:
  explicit LockedStore(const StoreConfig& config) : Store(config), heads_(std::make_unique<Head[]>(shards())) {
    for (std::size_t k = 0; k < shards(); ++k) heads_[k].version = config.version;
  }

  void pull(float* to, std::int64_t at_least, std::span<std::int64_t> read) override {
    for (std::size_t k = 0; k < shards(); ++k) {
      pull(k, to, at_least, read[k]);
      if (config_.shard_read) config_.shard_read(k);
    }
  }

  void apply(std::int64_t version) override {
    Slot& mine = slot(version);
    prepare(mine);
    for (std::size_t k = 0; k < shards(); ++k) {
      const std::lock_guard lock(heads_[k].mutex);
      bring_to(k, version);
    }
    mine.version.store(-1, std::memory_order_release);  // every shard has passed it
  }

 private:
  struct alignas(64) Head {
    std::mutex mutex;
    std::int64_t version = 0;
  };

  void pull(std::size_t k, float* to, std::int64_t at_least, std::int64_t& read) {
    const Range range = shard(k);
    const std::lock_guard lock(heads_[k].mutex);
    bring_to(k, at_least);
    read = heads_[k].version;
    std::memcpy(to + place(range.first), weights_.floats() + range.first,
                static_cast<std::size_t>(range.count()) * sizeof(float));
  }

  /// Applies what shard k lacks of the versions up to `version`. Its lock is held.
  void bring_to(std::size_t k, std::int64_t version) {
    for (; heads_[k].version < version; ++heads_[k].version) {
      Slot& next = slot(heads_[k].version + 1);
      while (!next.ready.load(std::memory_order_acquire)) next.ready.wait(false);
      update(next, shard(k));
    }
  }

  void update(const Slot& slot, const Range& range) {
    constexpr std::int64_t kChunk = GradientReducer::kChunk;
    alignas(64) float scratch[kChunk];
    for (std::int64_t offset = range.first; offset < range.last; offset += kChunk) {
      const std::int64_t count = std::min(kChunk, range.last - offset);
      const auto n = static_cast<std::size_t>(count);
      const auto state_at = [&](int k) {
        return state_[k].size() == 0 ? std::span<float>() : std::span<float>(state_[k].floats() + place(offset), n);
      };
      apply_update(slot.update.rule, config_.ranges, offset, {weights_.floats() + offset, n},
                   {gradient(slot, offset, count, scratch), n}, state_at(0), state_at(1));
    }
  }

  const std::unique_ptr<Head[]> heads_;
};

}  // namespace

std::unique_ptr<Store> make_locked_store(const StoreConfig& config) {
  return std::make_unique<LockedStore>(config);
}

}  // namespace dptrain

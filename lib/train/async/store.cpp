#include "train/async/store.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/error.h"
#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "train/gradient_reducer.h"
#include "train/reduction_tree.h"

namespace dptrain {

namespace {

constexpr std::int64_t kChunk = GradientReducer::kChunk;

/// T(lo, hi) over the leaves, for one chunk: a leaf itself, or the sum in scratch[depth].
const float* tree_sum(const std::vector<VersionUpdate::Leaf>& leaves, const UpdateRanges& ranges, int lo, int hi,
                      std::int64_t offset, std::int64_t count, float* scratch) {
  if (hi - lo == 1) {
    const VersionUpdate::Leaf& leaf = leaves[static_cast<std::size_t>(lo)];
    if (leaf.scale == 1) return leaf.gradient + offset;
    clip_trained(ranges, offset, leaf.scale, {leaf.gradient + offset, static_cast<std::size_t>(count)}, scratch);
    return scratch;
  }
  const int mid = tree_split(lo, hi);
  const float* left = tree_sum(leaves, ranges, lo, mid, offset, count, scratch);
  const float* right = tree_sum(leaves, ranges, mid, hi, offset, count, scratch + kChunk);
  for (std::int64_t i = 0; i < count; ++i) scratch[i] = left[i] + right[i];
  return scratch;
}

/// Floats of scratch that the tree over so many leaves needs.
constexpr std::int64_t kScratch = 34 * kChunk;

/// Boundaries at multiples of a chunk, sizes even.
std::vector<Range> cut_shards(std::int64_t floats, std::int64_t wanted) {
  const std::int64_t chunks = (floats + kChunk - 1) / kChunk;
  const int count = static_cast<int>(std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(1, chunks)));
  std::vector<Range> shards;
  for (int k = 0; k < count; ++k) {
    const Range range = share(static_cast<int>(chunks), count, k);
    const auto place = [&](int chunk) { return static_cast<int>(std::min(floats, chunk * kChunk)); };
    shards.push_back({place(range.first), place(range.last)});
  }
  return shards;
}

}  // namespace

Store::Store(const StoreConfig& config)
    : config_(config),
      shards_(cut_shards(config.floats, config.shards)),
      weights_(config.allocate(static_cast<std::size_t>(config.floats) * sizeof(float))),
      slot_count_(static_cast<std::size_t>(config.most_at_once)),
      slots_(std::make_unique<Slot[]>(slot_count_)) {
  for (int k = 0; k < config.state_buffers; ++k) state_[k] = Buffer::host_floats(config.floats);
}

Store::Slot& Store::slot(std::int64_t version) const {
  for (std::size_t k = 0; k < slot_count_; ++k) {
    if (slots_[k].version.load(std::memory_order_acquire) == version) return slots_[k];
  }
  DPTRAIN_CHECK(false, "version {} is not at hand", version);
  std::abort();
}

void Store::announce(std::int64_t version, VersionUpdate update) {
  DPTRAIN_CHECK(!update.leaves.empty(), "version {} is made of nothing", version);
  Slot& next = slot(-1);
  next.update = std::move(update);
  next.factor = 1;
  next.collapsed = false;
  next.ready.store(!config_.clip_norm, std::memory_order_relaxed);
  next.version.store(version, std::memory_order_release);
}

void Store::prepare(Slot& slot) {
  if (!config_.clip_norm) return;
  slot.factor = clip_factor(collapse(slot.update, config_.ranges, config_.floats), *config_.clip_norm);
  slot.collapsed = true;
  slot.ready.store(true, std::memory_order_release);
  slot.ready.notify_all();
}

double Store::collapse(VersionUpdate& update, const UpdateRanges& ranges, std::int64_t floats) {
  alignas(64) float scratch[kScratch];
  double squares = 0;
  for (std::int64_t offset = 0; offset < floats; offset += kChunk) {
    const std::int64_t count = std::min(kChunk, floats - offset);
    const float* sum =
        tree_sum(update.leaves, ranges, 0, static_cast<int>(update.leaves.size()), offset, count, scratch);
    float* mean = update.leaves.front().gradient + offset;
    for (std::int64_t i = 0; i < count; ++i) mean[i] = sum[i] / update.samples;
    squares += trained_squares(ranges, offset, {mean, static_cast<std::size_t>(count)});
  }
  return std::sqrt(squares);
}

const float* Store::gradient(const Slot& slot, std::int64_t offset, std::int64_t count, float* out) const {
  if (slot.collapsed) {
    const float* mean = slot.update.leaves.front().gradient + offset;
    clip_trained(config_.ranges, offset, slot.factor, {mean, static_cast<std::size_t>(count)}, out);
    return out;
  }
  alignas(64) float scratch[kScratch];
  const auto& leaves = slot.update.leaves;
  const float* sum = tree_sum(leaves, config_.ranges, 0, static_cast<int>(leaves.size()), offset, count, scratch);
  for (std::int64_t i = 0; i < count; ++i) out[i] = sum[i] / slot.update.samples;
  return out;
}

}  // namespace dptrain

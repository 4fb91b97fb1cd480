#include "train/async/store/store.h"

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

/// Floats of scratch that the tree over so many leaves needs.
constexpr std::int64_t kScratch = 34 * kChunk;

}  // namespace

double norm_of(std::int64_t, const std::vector<double>& squares) {
  double sum = 0;
  for (const double square : squares) sum += square;
  return std::sqrt(sum);
}

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

Range shards_of(std::size_t shards, const StorePart& part) {
  DPTRAIN_CHECK(static_cast<std::size_t>(part.count) <= shards, "{} parts of {} shards", part.count, shards);
  return share(static_cast<int>(shards), part.count, part.number);
}

Store::Store(const StoreConfig& config)
    : config_(config),
      shards_(cut_shards(config.floats, config.shards)),
      weights_(config.allocate(static_cast<std::size_t>(config.floats) * sizeof(float))),
      slot_count_(static_cast<std::size_t>(config.most_at_once)),
      slots_(std::make_unique<Slot[]>(slot_count_)) {
  const Range mine = shards_of(shards_.size(), config.part);
  shards_ = {shards_.begin() + mine.first, shards_.begin() + mine.last};
  for (int k = 0; k < config.state_buffers; ++k) state_[k] = Buffer::host_floats(part().count());
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
  const std::vector<double> squares = collapse(slot.update);
  slot.factor = clip_factor(config_.norm(slot.version.load(std::memory_order_relaxed), squares), *config_.clip_norm);
  slot.collapsed = true;
  slot.ready.store(true, std::memory_order_release);
  slot.ready.notify_all();
}

const float* Store::tree_sum(const std::vector<VersionUpdate::Leaf>& leaves, int lo, int hi, std::int64_t offset,
                             std::int64_t count, float* scratch) const {
  if (hi - lo == 1) {
    const VersionUpdate::Leaf& leaf = leaves[static_cast<std::size_t>(lo)];
    const float* gradient = leaf.gradient + place(offset);
    if (leaf.scale == 1) return gradient;
    clip_trained(config_.ranges, offset, leaf.scale, {gradient, static_cast<std::size_t>(count)}, scratch);
    return scratch;
  }
  const int mid = tree_split(lo, hi);
  const float* left = tree_sum(leaves, lo, mid, offset, count, scratch);
  const float* right = tree_sum(leaves, mid, hi, offset, count, scratch + kChunk);
  for (std::int64_t i = 0; i < count; ++i) scratch[i] = left[i] + right[i];
  return scratch;
}

std::vector<double> Store::collapse(VersionUpdate& update) const {
  alignas(64) float scratch[kScratch];
  std::vector<double> squares;
  const Range range = part();
  for (std::int64_t offset = range.first; offset < range.last; offset += kChunk) {
    const std::int64_t count = std::min<std::int64_t>(kChunk, range.last - offset);
    const float* sum = tree_sum(update.leaves, 0, static_cast<int>(update.leaves.size()), offset, count, scratch);
    float* mean = update.leaves.front().gradient + place(offset);
    for (std::int64_t i = 0; i < count; ++i) mean[i] = sum[i] / update.samples;
    squares.push_back(trained_squares(config_.ranges, offset, {mean, static_cast<std::size_t>(count)}));
  }
  return squares;
}

const float* Store::gradient(const Slot& slot, std::int64_t offset, std::int64_t count, float* out) const {
  if (slot.collapsed) {
    const float* mean = slot.update.leaves.front().gradient + place(offset);
    clip_trained(config_.ranges, offset, slot.factor, {mean, static_cast<std::size_t>(count)}, out);
    return out;
  }
  alignas(64) float scratch[kScratch];
  const auto& leaves = slot.update.leaves;
  const float* sum = tree_sum(leaves, 0, static_cast<int>(leaves.size()), offset, count, scratch);
  for (std::int64_t i = 0; i < count; ++i) out[i] = sum[i] / slot.update.samples;
  return out;
}

}  // namespace dptrain

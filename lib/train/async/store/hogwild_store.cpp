// The store without locks. What one version does to an element is not one atomic operation: another may come in
// between, and one of the two is then lost, in the weights or in the optimizer's state. That is what "hogwild" stands
// for.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "kernels/cpu/range_parts.h"
#include "train/async/store/store.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

constexpr std::int64_t kBlock = 256;

/// Two floats in one relaxed access, half as many accesses as one by one: compilers do not put them together. Tensors
/// and shards begin at whole cache lines.
using Pair = std::uint64_t __attribute__((may_alias));

void load(const float* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + 1 < count; i += 2) {
    const Pair pair = __atomic_load_n(reinterpret_cast<const Pair*>(from + i), __ATOMIC_RELAXED);
    std::memcpy(to + i, &pair, sizeof pair);
  }
  if (i < count) __atomic_load(from + i, to + i, __ATOMIC_RELAXED);
}

void store(float* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + 1 < count; i += 2) {
    Pair pair;
    std::memcpy(&pair, from + i, sizeof pair);
    __atomic_store_n(reinterpret_cast<Pair*>(to + i), pair, __ATOMIC_RELAXED);
  }
  if (i < count) __atomic_store(to + i, from + i, __ATOMIC_RELAXED);
}

/// The rule on a block of elements: read, compute, write; what others have written in between is lost.
template <class Rule>
void update_elements(const Rule rule, std::int64_t count, float* parameters, const float* gradients,
                     [[maybe_unused]] float* state0, [[maybe_unused]] float* state1) {
  constexpr int kStates = Rule::state_buffers;
  alignas(64) float parameter[kBlock];
  [[maybe_unused]] alignas(64) float first[kBlock], second[kBlock];
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, count - begin);
    load(parameters + begin, n, parameter);
    if constexpr (kStates >= 1) load(state0 + begin, n, first);
    if constexpr (kStates >= 2) load(state1 + begin, n, second);
    for (std::int64_t i = 0; i < n; ++i) {
      if constexpr (kStates == 0) rule(parameter[i], gradients[begin + i]);
      if constexpr (kStates == 1) rule(parameter[i], gradients[begin + i], first[i]);
      if constexpr (kStates == 2) rule(parameter[i], gradients[begin + i], first[i], second[i]);
    }
    if constexpr (kStates >= 2) store(second, n, state1 + begin);
    if constexpr (kStates >= 1) store(first, n, state0 + begin);
    store(parameter, n, parameters + begin);
  }
}

class HogwildStore final : public Store {
 public:
  explicit HogwildStore(const StoreConfig& config) : Store(config), applied_(config.version) {
    ahead_.reserve(static_cast<std::size_t>(config.most_at_once));
  }

  void pull(float* to, std::int64_t at_least, std::span<std::int64_t> read) override {
    std::int64_t applied = applied_.load(std::memory_order_acquire);
    for (; applied < at_least; applied = applied_.load(std::memory_order_acquire)) applied_.wait(applied);
    std::fill(read.begin(), read.end(), applied);
    load(weights_.floats() + part().first, part().count(), to);
  }

  void apply(std::int64_t version) override {
    constexpr std::int64_t kChunk = GradientReducer::kChunk;
    Slot& mine = slot(version);
    prepare(mine);
    alignas(64) float scratch[kChunk];
    const Range here = part();
    for (std::int64_t offset = here.first; offset < here.last; offset += kChunk) {
      const std::int64_t count = std::min<std::int64_t>(kChunk, here.last - offset);
      const float* mean = gradient(mine, offset, count, scratch);
      for_each_range(config_.ranges, offset, count, [&](const UpdateRange& range, std::size_t first, std::size_t n) {
        const auto at = [&](Buffer& buffer, std::int64_t begin) {
          return buffer.size() == 0 ? nullptr : buffer.floats() + begin + static_cast<std::int64_t>(first);
        };
        std::visit(
            [&](const auto& rule) {
              update_elements(rule, static_cast<std::int64_t>(n), at(weights_, offset), mean + first,
                              at(state_[0], place(offset)), at(state_[1], place(offset)));
            },
            rule_for(range, mine.update.rule));
      });
    }
    mine.version.store(-1, std::memory_order_release);
    note_applied(version);
  }

 private:
  void note_applied(std::int64_t version) {
    const std::lock_guard lock(mutex_);
    ahead_.push_back(version);
    std::int64_t applied = applied_.load(std::memory_order_relaxed);
    const std::int64_t before = applied;
    while (std::erase(ahead_, applied + 1) != 0) ++applied;
    if (applied == before) return;
    applied_.store(applied, std::memory_order_release);
    applied_.notify_all();
  }

  std::atomic<std::int64_t> applied_;  // all versions up to here are
  std::mutex mutex_;
  std::vector<std::int64_t> ahead_;  // applied after one that is not
};

}  // namespace

std::unique_ptr<Store> make_hogwild_store(const StoreConfig& config) {
  return std::make_unique<HogwildStore>(config);
}

}  // namespace dptrain

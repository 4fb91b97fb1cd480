// The store without locks. What one version does to an element is not one atomic operation: another may come in between, and one of
// the two is then lost, in the weights or in the optimizer's state. That is what "hogwild" stands for.
#include <algorithm>
#include <mutex>

#include "kernels/cpu/range_parts.h"
#include "train/async/store.h"
#include "train/gradient_reducer.h"

namespace dptrain {

namespace {

float load(float& element) {
  return std::atomic_ref<float>(element).load(std::memory_order_relaxed);
}

void store(float& element, float value) {
  std::atomic_ref<float>(element).store(value, std::memory_order_relaxed);
}

/// The rule on each element: read, compute, write, each element's parts one by one.
template <class Rule>
void update_elements(const Rule rule, std::int64_t count, float* parameters, const float* gradients,
                     [[maybe_unused]] float* state0, [[maybe_unused]] float* state1) {
  for (std::int64_t i = 0; i < count; ++i) {
    float parameter = load(parameters[i]);
    if constexpr (Rule::state_buffers == 0) rule(parameter, gradients[i]);
    if constexpr (Rule::state_buffers >= 1) {
      float first = load(state0[i]);
      if constexpr (Rule::state_buffers == 1) rule(parameter, gradients[i], first);
      if constexpr (Rule::state_buffers == 2) {
        float second = load(state1[i]);
        rule(parameter, gradients[i], first, second);
        store(state1[i], second);
      }
      store(state0[i], first);
    }
    store(parameters[i], parameter);
  }
}

class HogwildStore final : public Store {
 public:
  explicit HogwildStore(const StoreConfig& config) : Store(config), applied_(config.version) {
    ahead_.reserve(static_cast<std::size_t>(config.most_at_once));
  }

  void pull(float* to, std::int64_t at_least, std::vector<std::int64_t>& read) override {
    std::int64_t applied = applied_.load(std::memory_order_acquire);
    for (; applied < at_least; applied = applied_.load(std::memory_order_acquire)) applied_.wait(applied);
    std::fill(read.begin(), read.end(), applied);
    float* weights = weights_.floats();
    for (std::int64_t i = 0; i < floats(); ++i) to[i] = load(weights[i]);
  }

  void apply(std::int64_t version) override {
    constexpr std::int64_t kChunk = GradientReducer::kChunk;
    Slot& mine = slot(version);
    prepare(mine);
    alignas(64) float scratch[kChunk];
    for (std::int64_t offset = 0; offset < floats(); offset += kChunk) {
      const std::int64_t count = std::min(kChunk, floats() - offset);
      const float* mean = gradient(mine, offset, count, scratch);
      for_each_range(config_.ranges, offset, count, [&](const UpdateRange& range, std::size_t first, std::size_t n) {
        const auto at = [&](Buffer& buffer) {
          return buffer.size() == 0 ? nullptr : buffer.floats() + offset + static_cast<std::int64_t>(first);
        };
        std::visit(
            [&](const auto& rule) {
              update_elements(rule, static_cast<std::int64_t>(n), at(weights_), mean + first, at(state_[0]),
                              at(state_[1]));
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

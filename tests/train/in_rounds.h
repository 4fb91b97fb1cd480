// Purpose: interleavings of an asynchronous run that are forced, however its threads are scheduled. Thread safety: as
//   TrainOptions asks.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "train/trainer.h"

namespace dptrain::test {

/// Micro-batches in rounds of `size`: nobody computes before all of a round have read their weights. Needs a contract
/// that lets so many compute at a time, and whole rounds between two rests.
inline TrainOptions in_rounds(std::int64_t size) {
  TrainOptions options;
  options.weights_read = [size, arrived = std::make_shared<std::atomic<std::int64_t>>(0)](
                             int, std::int64_t index, const std::function<bool()>& over) {
    ++*arrived;
    while (*arrived < (index / size + 1) * size && !over()) std::this_thread::yield();
  };
  return options;
}

/// Of two replicas one reads the second shard of its first weights when the other's first version is made.
inline TrainOptions in_between_shards() {
  struct State {
    std::atomic<bool> taken{false}, made{false};
  };
  const auto state = std::make_shared<State>();
  TrainOptions options;
  options.shard_read = [state](std::size_t shard, const std::function<bool()>& over) {
    if (shard != 0 || state->taken.exchange(true)) return;
    while (!state->made && !over()) std::this_thread::yield();
  };
  options.weights_read = [state](int, std::int64_t index, const std::function<bool()>&) {
    if (index >= 2) state->made = true;  // micro-batch 0 or 1 of this replica is pushed
  };
  return options;
}

}  // namespace dptrain::test

// Purpose: when the workers of local SGD are averaged: after each of the first `warmup` steps, which are synchronous,
//   and then after every `every` steps. Thread safety: a value, pure functions.
// Invariants: it depends on the job alone, so that a run that is resumed averages when an uninterrupted one does. (At
//   the end of a run there is an average too, wherever that falls.)
#pragma once

#include <algorithm>
#include <cstdint>

namespace dptrain {

struct Rounds {
  std::int64_t warmup = 0;
  std::int64_t every = 1;

  /// The round that `step` belongs to is of the steps [first(step), last(step)), with an average before and after.
  std::int64_t first(std::int64_t step) const {
    return step < warmup ? step : warmup + (step - warmup) / every * every;
  }
  std::int64_t last(std::int64_t step) const { return step < warmup ? step + 1 : first(step) + every; }
  /// Averages of workers that are made in the first `steps` steps, the last of which is averaged; warm-up has none.
  std::int64_t averages(std::int64_t steps) const {
    return (std::max<std::int64_t>(steps - warmup, 0) + every - 1) / every;
  }
};

/// Whether the average after `step` is the first one at or behind a multiple of `interval`, the one before being that
/// of `before`: what is due every `interval` steps waits for the next average.
inline bool falls_due(std::int64_t before, std::int64_t step, std::int64_t interval) {
  return step / interval > before / interval;
}

}  // namespace dptrain

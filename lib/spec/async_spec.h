// Purpose: what a job says of asynchronous updates. Part of JobSpec.
// Thread safety: immutable once read.
#pragma once

#include <cstdint>
#include <optional>

#include "spec/source_mark.h"

namespace dptrain {

/// What becomes of a gradient that would be more stale than the bound allows.
enum class OnStale {
  wait,   ///< it cannot come to that: replicas wait before they begin, or before they deposit
  drop,   ///< nobody waits; the gradient is discarded
  scale,  ///< as `wait`, and every gradient is weighted 1 / (1 + lag)
};
enum class StoreUpdates { locked, hogwild };
/// `async:`, checked whatever the mode is, and used where that is async.
struct AsyncSpec {
  std::optional<std::int64_t> max_staleness;  ///< versions; empty: `null`, unbounded
  OnStale on_stale = OnStale::wait;
  std::optional<std::int64_t>
      updates_per_apply;  ///< gradients a version; empty: `auto`, 1, or a whole step's where max_staleness is 0
  StoreUpdates updates = StoreUpdates::locked;
  std::optional<std::int64_t> shards;         ///< of the store; empty: `auto`, four a replica
  bool record = false;                        ///< for `dptrain replay`
  std::optional<double> fallback_loss_above;  ///< `fallback: {to: sync, if_loss_above: X}`; empty: `none`
  SourceMark updates_per_apply_at;
  bool operator==(const AsyncSpec&) const = default;
};

}  // namespace dptrain

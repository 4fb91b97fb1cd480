// Purpose: the store of an asynchronous run as the holder of its weights, in the host's memory for replicas on all
//   kinds of devices.
// Thread safety: as WeightsHolder. Invariants: between two steps every host has all weights, and the first process all
//   state.
#pragma once

#include <cstring>

#include "train/async/async_run.h"

namespace dptrain {

/// The store of an asynchronous run, in the host's memory for replicas on all kinds of devices. The first process of
/// each host has a part of it, and all weights to look after; others of that host see them.
class StoreHolder final : public WeightsHolder {
 public:
  StoreHolder(AsyncRun& async, bool writes) : async_(async), weights_(async.weights), writes_(writes) {}

  const float* parameters(int) const override { return weights_.data(); }
  void load(const float* parameters) override {
    if (writes_) std::memcpy(weights_.data(), parameters, weights_.size_bytes());
  }
  void save(float* parameters) const override { std::memcpy(parameters, weights_.data(), weights_.size_bytes()); }
  void load_state(int k, const float* state) override {
    if (!async_.states.empty())
      std::memcpy(async_.states[static_cast<std::size_t>(k)].floats(), state, weights_.size_bytes());
    if (!async_.store) return;
    const Range part = async_.store->part();
    std::memcpy(async_.store->state(k), state + part.first, static_cast<std::size_t>(part.count()) * sizeof(float));
  }
  void save_state(int k, float* state) const override {
    if (async_.parts.size() > 1) {
      if (!async_.states.empty())
        std::memcpy(state, async_.states[static_cast<std::size_t>(k)].floats(), weights_.size_bytes());
    } else if (async_.store) {
      std::memcpy(state, async_.store->state(k), weights_.size_bytes());
    }
  }

 private:
  AsyncRun& async_;
  const std::span<float> weights_;
  const bool writes_;
};

}  // namespace dptrain

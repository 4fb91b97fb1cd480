// Purpose: dynamic loss scaling (Micikevicius et al., "Mixed precision training", ICLR 2018) with the constants of
//   PyTorch's GradScaler: the scalar maths, written once. Half knows nothing below 2^-24, so gradients are multiplied
//   by a scale on their way through the network; where a step's are not finite the scale is halved and the step left
//   out, and after many good steps it is doubled.
// Thread safety: values. Invariants: scales are powers of two, so that scaling changes no bit of a mantissa.
#pragma once

#include <cstdint>

#include "core/host_device.h"

namespace dptrain {

/// What a run carries from step to step; the same on all replicas, and in the device's memory where kernels read it.
struct LossScale {
  float scale = 1;                 ///< of the gradient of the mean over a step, as in PyTorch
  float factor = 1;                ///< of a single sample's gradient, which is what the loss writes: scale / divisor
  std::int64_t good_steps = 0;     ///< in a row, since the scale last changed
  std::int64_t skipped_steps = 0;  ///< left out, in the whole run
  bool applies = true;             ///< whether the latest step is applied
  bool exhausted = false;          ///< its gradients were not finite, and there is no lower scale
};

struct LossScaleRule {
  static constexpr float kLargest = 0x1p60f;  ///< growth ends here: gradients that are all zero never overflow
  std::int64_t growth_interval = 2000;
  float least = 1;
  float divisor = 1;  ///< the samples of a full step, rounded up to a power of two: sums stand for means

  LossScale at(float scale, std::int64_t good_steps, std::int64_t skipped_steps) const {
    LossScale state;
    state.scale = scale;
    state.factor = scale / divisor;
    state.good_steps = good_steps;
    state.skipped_steps = skipped_steps;
    return state;
  }

  /// The end of a step whose gradients are finite or not.
  DPTRAIN_HD void step(LossScale& state, bool finite) const {
    state.applies = finite;
    if (!finite) {
      ++state.skipped_steps;
      state.good_steps = 0;
      state.exhausted = state.scale * 0.5f < least;
      if (!state.exhausted) state.scale *= 0.5f;
    } else if (++state.good_steps >= growth_interval) {
      state.good_steps = 0;
      if (state.scale < kLargest) state.scale *= 2.0f;
    }
    state.factor = state.scale / divisor;
  }
};

}  // namespace dptrain

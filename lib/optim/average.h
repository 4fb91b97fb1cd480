// Purpose: the exponential moving average of a run's weights (Polyak and Juditsky, 1992, with forgetting), as
//   torch.optim.swa_utils.AveragedModel with get_ema_multi_avg_fn keeps it: it begins as the weights after the first
//   step.
// Thread safety: a pure function.
#pragma once

#include <cstdint>

#include "kernels/update_rules.h"

namespace dptrain {

/// What follows the update of step `step` (counted from 0).
inline AverageRule average_rule(double decay, std::int64_t step) {
  if (step == 0) return {};
  return {.kept = static_cast<float>(decay), .share = static_cast<float>(1 - decay)};
}

}  // namespace dptrain

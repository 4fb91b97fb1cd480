// Purpose: gradient clipping by global norm (Pascanu et al., "On the difficulty of training recurrent neural networks",
//   ICML 2013) with the constants of torch.nn.utils.clip_grad_norm_.
// Thread safety: a pure function.
#pragma once

#include "core/host_device.h"

namespace dptrain {

/// What every gradient is multiplied with: max_norm / (norm + 1e-6), at most 1. `norm` is the L2 norm of all gradients
/// together. An infinite norm gives 0, a NaN gives NaN; callers decide about non-finite gradients before they clip.
DPTRAIN_HD inline float clip_factor(double norm, double max_norm) {
  const double factor = max_norm / (norm + 1e-6);
  return static_cast<float>(factor > 1 ? 1 : factor);
}

}  // namespace dptrain

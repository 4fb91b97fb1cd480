#include "kernels/kernels.h"

namespace dptrain {

bool backward_needs_input(const ActivationSpec& spec) {
  // A leaky ReLU with a slope below zero does not keep the sign of its input, so its output does not tell the gradient.
  return spec.kind == ActivationKind::gelu || spec.kind == ActivationKind::silu ||
         (spec.kind == ActivationKind::leaky_relu && spec.negative_slope < 0);
}

}  // namespace dptrain

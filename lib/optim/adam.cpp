#include "optim/adam.h"

#include <cmath>

namespace dptrain {

UpdateRule Adam::rule(std::int64_t step, double lr) const {
  const double count = static_cast<double>(step) + 1;
  const double weight = 1 - spec_.beta1;
  const bool from_gradient = weight >= 0.5;
  return AdamRule{
      .step_size = static_cast<float>(lr / (1 - std::pow(spec_.beta1, count))),
      .coupled_decay = spec_.decoupled_weight_decay ? 0.0f : static_cast<float>(spec_.weight_decay),
      .parameter_scale = spec_.decoupled_weight_decay ? static_cast<float>(1 - lr * spec_.weight_decay) : 1.0f,
      .average_weight = static_cast<float>(from_gradient ? weight - 1 : weight),
      .lerp_from_gradient = from_gradient,
      .square_decay = static_cast<float>(spec_.beta2),
      .square_share = static_cast<float>(1 - spec_.beta2),
      .square_correction = static_cast<float>(std::sqrt(1 - std::pow(spec_.beta2, count))),
      .epsilon = static_cast<float>(spec_.epsilon)};
}

}  // namespace dptrain

// Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015) with weight decay added to the
// gradient, and AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as
// torch.optim.Adam and torch.optim.AdamW without amsgrad.
#include <cmath>

#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const AdamSpec&) {
  return {"exp_avg", "exp_avg_sq"};
}

AdamRule rule_of(const AdamSpec& spec, std::int64_t step, double lr) {
  const double count = static_cast<double>(step) + 1;
  const double weight = 1 - spec.beta1;
  const bool from_gradient = weight >= 0.5;
  return AdamRule{
      .step_size = static_cast<float>(lr / (1 - std::pow(spec.beta1, count))),
      .coupled_decay = spec.decoupled_weight_decay ? 0.0f : static_cast<float>(spec.weight_decay),
      .parameter_scale = spec.decoupled_weight_decay ? static_cast<float>(1 - lr * spec.weight_decay) : 1.0f,
      .average_weight = static_cast<float>(from_gradient ? weight - 1 : weight),
      .lerp_from_gradient = from_gradient,
      .square_decay = static_cast<float>(spec.beta2),
      .square_share = static_cast<float>(1 - spec.beta2),
      .square_correction = static_cast<float>(std::sqrt(1 - std::pow(spec.beta2, count))),
      .epsilon = static_cast<float>(spec.epsilon)};
}

}  // namespace dptrain

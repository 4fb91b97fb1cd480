// RMSprop (Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012) as
// torch.optim.RMSprop without centring: epsilon is added to the root, and the learning rate multiplies the momentum
// buffer.
#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const RmspropSpec& spec) {
  if (spec.momentum == 0) return {"square_avg"};
  return {"square_avg", "momentum_buffer"};
}

UpdateRule rule_of(const RmspropSpec& spec, std::int64_t, double lr) {
  const RmspropRule plain{.lr = static_cast<float>(lr),
                          .weight_decay = static_cast<float>(spec.weight_decay),
                          .square_decay = static_cast<float>(spec.alpha),
                          .square_share = static_cast<float>(1 - spec.alpha),
                          .epsilon = static_cast<float>(spec.epsilon)};
  if (spec.momentum == 0) return plain;
  return RmspropMomentumRule{.scale = plain, .momentum = static_cast<float>(spec.momentum)};
}

}  // namespace dptrain

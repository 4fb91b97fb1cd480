#include "optim/rmsprop.h"

namespace dptrain {

std::vector<std::string> Rmsprop::state_names() const {
  if (spec_.momentum == 0) return {"square_avg"};
  return {"square_avg", "momentum_buffer"};
}

UpdateRule Rmsprop::rule(std::int64_t, double lr) const {
  const RmspropRule plain{.lr = static_cast<float>(lr),
                          .weight_decay = static_cast<float>(spec_.weight_decay),
                          .square_decay = static_cast<float>(spec_.alpha),
                          .square_share = static_cast<float>(1 - spec_.alpha),
                          .epsilon = static_cast<float>(spec_.epsilon)};
  if (spec_.momentum == 0) return plain;
  return RmspropMomentumRule{.scale = plain, .momentum = static_cast<float>(spec_.momentum)};
}

}  // namespace dptrain

#include "optim/sgd.h"

namespace dptrain {

std::vector<std::string> Sgd::state_names() const {
  if (spec_.momentum == 0) return {};
  return {"momentum_buffer"};
}

UpdateRule Sgd::rule(std::int64_t step, double lr) const {
  if (spec_.momentum == 0) {
    return SgdRule{.lr = static_cast<float>(lr), .weight_decay = static_cast<float>(spec_.weight_decay)};
  }
  // The first buffer is the first gradient itself, undampened: the buffer is zero then, so its decay does not matter.
  return MomentumRule{.lr = static_cast<float>(lr),
                      .weight_decay = static_cast<float>(spec_.weight_decay),
                      .buffer_decay = static_cast<float>(spec_.momentum),
                      .gradient_share = step == 0 ? 1.0f : static_cast<float>(1 - spec_.dampening),
                      .lookahead = spec_.nesterov ? 1.0f : 0.0f,
                      .buffer_share = spec_.nesterov ? static_cast<float>(spec_.momentum) : 1.0f};
}

}  // namespace dptrain

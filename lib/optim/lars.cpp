// LARS (You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017): each tensor has a
// learning rate of its own, in proportion to its norm over its gradient's. Momentum is as in torch.optim.SGD: the
// global learning rate multiplies the buffer and is not part of it.
#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const LarsSpec&) {
  return {"momentum_buffer"};
}

LarsRule rule_of(const LarsSpec& spec, std::int64_t, double lr) {
  return LarsRule{.lr = static_cast<float>(lr),
                  .weight_decay = static_cast<float>(spec.weight_decay),
                  .momentum = static_cast<float>(spec.momentum),
                  .trust_coefficient = static_cast<float>(spec.trust_coefficient),
                  .epsilon = static_cast<float>(spec.epsilon)};
}

}  // namespace dptrain

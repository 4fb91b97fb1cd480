// Stochastic gradient descent with momentum, dampening, Nesterov's variant and (coupled) weight decay, as
// torch.optim.SGD: the learning rate multiplies the buffer and is not part of it. Nesterov's momentum is the form of
// Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const SgdSpec& spec) {
  if (spec.momentum == 0) return {};
  return {"momentum_buffer"};
}

UpdateRule rule_of(const SgdSpec& spec, std::int64_t step, double lr) {
  if (spec.momentum == 0) {
    return SgdRule{.lr = static_cast<float>(lr), .weight_decay = static_cast<float>(spec.weight_decay)};
  }
  // The first buffer is the first gradient itself, undampened: the buffer is zero then, so its decay does not matter.
  return MomentumRule{.lr = static_cast<float>(lr),
                      .weight_decay = static_cast<float>(spec.weight_decay),
                      .buffer_decay = static_cast<float>(spec.momentum),
                      .gradient_share = step == 0 ? 1.0f : static_cast<float>(1 - spec.dampening),
                      .lookahead = spec.nesterov ? 1.0f : 0.0f,
                      .buffer_share = spec.nesterov ? static_cast<float>(spec.momentum) : 1.0f};
}

}  // namespace dptrain

// Purpose: stochastic gradient descent with momentum, dampening, Nesterov's variant and (coupled) weight decay, as
//   torch.optim.SGD: the learning rate multiplies the buffer and is not part of it. Nesterov's momentum is the form of
//   Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Sgd : public Optimizer {
 public:
  explicit Sgd(const SgdSpec& spec) : spec_(spec) {}
  /// "momentum_buffer", or nothing where the momentum is 0.
  std::vector<std::string> state_names() const override;
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  SgdSpec spec_;
};

}  // namespace dptrain

// Purpose: LARS (You, Gitman and Ginsburg, "Large batch training of convolutional networks", 2017): each tensor has a
//   learning rate of its own, in proportion to its norm over its gradient's. Momentum is as in torch.optim.SGD: the global
//   learning rate multiplies the buffer and is not part of it.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Lars : public Optimizer {
 public:
  explicit Lars(const LarsSpec& spec) : spec_(spec) {}
  /// "momentum_buffer".
  std::vector<std::string> state_names() const override { return {"momentum_buffer"}; }
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  LarsSpec spec_;
};

}  // namespace dptrain

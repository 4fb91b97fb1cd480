// Purpose: RMSprop (Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning", 2012) as
//   torch.optim.RMSprop without centring: epsilon is added to the root, and the learning rate multiplies the momentum buffer.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Rmsprop : public Optimizer {
 public:
  explicit Rmsprop(const RmspropSpec& spec) : spec_(spec) {}
  /// "square_avg", and with momentum "momentum_buffer".
  std::vector<std::string> state_names() const override;
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  RmspropSpec spec_;
};

}  // namespace dptrain

// Purpose: LAMB (You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020;
//   algorithm 2 with the identity for phi): Adam's direction, and each tensor's step in proportion to its norm.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Lamb : public Optimizer {
 public:
  explicit Lamb(const LambSpec& spec) : spec_(spec) {}
  /// "exp_avg" and "exp_avg_sq".
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  LambSpec spec_;
};

}  // namespace dptrain

// Purpose: Adagrad (Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 2011) as torch.optim.Adagrad.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Adagrad : public Optimizer {
 public:
  explicit Adagrad(const AdagradSpec& spec) : spec_(spec) {}
  /// "sum", of squares.
  std::vector<std::string> state_names() const override { return {"sum"}; }
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  AdagradSpec spec_;
};

}  // namespace dptrain

// Purpose: Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015) with weight decay added to the
//   gradient, and AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019), as
//   torch.optim.Adam and torch.optim.AdamW without amsgrad.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Adam : public Optimizer {
 public:
  explicit Adam(const AdamSpec& spec) : spec_(spec) {}
  /// "exp_avg" and "exp_avg_sq".
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  AdamSpec spec_;
};

}  // namespace dptrain

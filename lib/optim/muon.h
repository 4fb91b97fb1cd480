// Purpose: Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) as torch.optim.Muon,
//   but in fp32, for weights, each as a matrix of its outputs by its inputs; AdamW for biases and norms.
// Thread safety: immutable.
#pragma once

#include "optim/optimizer.h"

namespace dptrain {

class Muon : public Optimizer {
 public:
  explicit Muon(const MuonSpec& spec) : spec_(spec) {}
  /// "momentum_buffer", which is a weight's momentum and "exp_avg" of the others, and "exp_avg_sq", which weights leave at 0.
  std::vector<std::string> state_names() const override { return {"momentum_buffer", "exp_avg_sq"}; }
  UpdateRule rule(std::int64_t step, double lr) const override;

 private:
  MuonSpec spec_;
};

}  // namespace dptrain

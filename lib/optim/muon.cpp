// Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) as torch.optim.Muon,
// but in fp32, for weights, each as a matrix of its outputs by its inputs; AdamW for biases and norms.
#include "optim/optimizer.h"

namespace dptrain {

// The first is a weight's momentum, and "exp_avg" of the others; weights leave the second at 0.
std::vector<std::string> state_names(const MuonSpec&) {
  return {"momentum_buffer", "exp_avg_sq"};
}

MuonRule rule_of(const MuonSpec& spec, std::int64_t step, double lr) {
  const AdamSpec adamw{.beta1 = spec.adamw_beta1,
                       .beta2 = spec.adamw_beta2,
                       .epsilon = spec.adamw_epsilon,
                       .weight_decay = spec.weight_decay,
                       .decoupled_weight_decay = true};
  const double adamw_lr = spec.lr == 0 ? 0 : lr * (spec.adamw_lr / spec.lr);
  return MuonRule{.others = rule_of(adamw, step, adamw_lr),
                  .gradient_share = static_cast<float>(1 - spec.momentum),
                  .lookback = spec.nesterov ? static_cast<float>(1 - spec.momentum) : 0.0f,
                  .parameter_scale = static_cast<float>(1 - lr * spec.weight_decay),
                  .lr = static_cast<float>(lr),
                  .epsilon = static_cast<float>(spec.epsilon),
                  .iterations = static_cast<int>(spec.iterations),
                  .match_adamw = spec.scale == MuonScale::match_rms_adamw};
}

}  // namespace dptrain

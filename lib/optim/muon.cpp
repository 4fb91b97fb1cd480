#include "optim/muon.h"

#include "optim/adam.h"

namespace dptrain {

UpdateRule Muon::rule(std::int64_t step, double lr) const {
  const Adam adamw({.beta1 = spec_.adamw_beta1,
                    .beta2 = spec_.adamw_beta2,
                    .epsilon = spec_.adamw_epsilon,
                    .weight_decay = spec_.weight_decay,
                    .decoupled_weight_decay = true});
  const double adamw_lr = spec_.lr == 0 ? 0 : lr * (spec_.adamw_lr / spec_.lr);
  return MuonRule{.others = std::get<AdamRule>(adamw.rule(step, adamw_lr)),
                  .gradient_share = static_cast<float>(1 - spec_.momentum),
                  .lookback = spec_.nesterov ? static_cast<float>(1 - spec_.momentum) : 0.0f,
                  .parameter_scale = static_cast<float>(1 - lr * spec_.weight_decay),
                  .lr = static_cast<float>(lr),
                  .epsilon = static_cast<float>(spec_.epsilon),
                  .iterations = static_cast<int>(spec_.iterations),
                  .match_adamw = spec_.scale == MuonScale::match_rms_adamw};
}

}  // namespace dptrain

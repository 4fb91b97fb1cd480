// Adagrad (Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 2011) as torch.optim.Adagrad.
#include "optim/optimizer.h"

namespace dptrain {

// Of squares.
std::vector<std::string> state_names(const AdagradSpec&) {
  return {"sum"};
}

AdagradRule rule_of(const AdagradSpec& spec, std::int64_t step, double lr) {
  return AdagradRule{.lr = static_cast<float>(lr / (1 + static_cast<double>(step) * spec.lr_decay)),
                     .weight_decay = static_cast<float>(spec.weight_decay),
                     .epsilon = static_cast<float>(spec.epsilon)};
}

}  // namespace dptrain

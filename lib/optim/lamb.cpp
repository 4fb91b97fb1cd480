// LAMB (You et al., "Large batch optimization for deep learning: training BERT in 76 minutes", ICLR 2020;
// algorithm 2 with the identity for phi): Adam's direction, and each tensor's step in proportion to its norm.
#include <cmath>

#include "optim/optimizer.h"

namespace dptrain {

std::vector<std::string> state_names(const LambSpec&) {
  return {"exp_avg", "exp_avg_sq"};
}

LambRule rule_of(const LambSpec& spec, std::int64_t step, double lr) {
  const double count = static_cast<double>(step) + 1;
  return LambRule{.lr = static_cast<float>(lr),
                  .weight_decay = static_cast<float>(spec.weight_decay),
                  .average_decay = static_cast<float>(spec.beta1),
                  .average_share = static_cast<float>(1 - spec.beta1),
                  .square_decay = static_cast<float>(spec.beta2),
                  .square_share = static_cast<float>(1 - spec.beta2),
                  .average_correction = static_cast<float>(1 / (1 - std::pow(spec.beta1, count))),
                  .square_correction = static_cast<float>(std::sqrt(1 - std::pow(spec.beta2, count))),
                  .epsilon = static_cast<float>(spec.epsilon)};
}

}  // namespace dptrain

#include "optim/adagrad.h"

namespace dptrain {

UpdateRule Adagrad::rule(std::int64_t step, double lr) const {
  return AdagradRule{.lr = static_cast<float>(lr / (1 + static_cast<double>(step) * spec_.lr_decay)),
                     .weight_decay = static_cast<float>(spec_.weight_decay),
                     .epsilon = static_cast<float>(spec_.epsilon)};
}

}  // namespace dptrain

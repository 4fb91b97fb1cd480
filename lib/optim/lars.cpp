#include "optim/lars.h"

namespace dptrain {

UpdateRule Lars::rule(std::int64_t, double lr) const {
  return LarsRule{.lr = static_cast<float>(lr),
                  .weight_decay = static_cast<float>(spec_.weight_decay),
                  .momentum = static_cast<float>(spec_.momentum),
                  .trust_coefficient = static_cast<float>(spec_.trust_coefficient),
                  .epsilon = static_cast<float>(spec_.epsilon)};
}

}  // namespace dptrain

#include "optim/lamb.h"

#include <cmath>

namespace dptrain {

UpdateRule Lamb::rule(std::int64_t step, double lr) const {
  const double count = static_cast<double>(step) + 1;
  return LambRule{.lr = static_cast<float>(lr),
                  .weight_decay = static_cast<float>(spec_.weight_decay),
                  .average_decay = static_cast<float>(spec_.beta1),
                  .average_share = static_cast<float>(1 - spec_.beta1),
                  .square_decay = static_cast<float>(spec_.beta2),
                  .square_share = static_cast<float>(1 - spec_.beta2),
                  .average_correction = static_cast<float>(1 / (1 - std::pow(spec_.beta1, count))),
                  .square_correction = static_cast<float>(std::sqrt(1 - std::pow(spec_.beta2, count))),
                  .epsilon = static_cast<float>(spec_.epsilon)};
}

}  // namespace dptrain

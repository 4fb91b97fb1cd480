// Purpose: what a batch's loss adds up to. Thread safety: a value. Kept apart from kernels.h for code that is compiled
//   for GPUs.
#pragma once

#include <cstdint>

namespace dptrain {

struct LossSum {
  double loss = 0;           ///< sum over samples
  std::int64_t correct = 0;  ///< samples whose largest output is the label's
};

}  // namespace dptrain

// Purpose: CombinePrograms in device memory, made once for each plan. Thread safety: one thread, that of their replica.
#pragma once

#include <map>
#include <vector>

#include "device/buffer.h"
#include "kernels/cuda/reduce.h"
#include "train/schedule.h"

namespace dptrain {

class DeviceTrees {
 public:
  /// The tree of `plan`, whose leaf (replica r, buffer b) lies at gradients[r][b]. Made at the first call for a plan: before
  /// it is recorded. Errors: Error(usage) where the tree is deeper than kernels can add.
  cuda::GradientTree of(const StepPlan& plan, const std::vector<const std::vector<float*>*>& gradients);

 private:
  struct Tables {
    Buffer leaves, postfix;
    int length = 0;
  };
  std::map<const StepPlan*, Tables> tables_;
};

}  // namespace dptrain

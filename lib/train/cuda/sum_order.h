// Purpose: a step's CombineProgram as GPU kernels take it. Thread safety: a pure function.
#pragma once

#include <span>
#include <vector>

#include "kernels/cuda/update.h"
#include "train/reduction_tree.h"

namespace dptrain {

/// Whether kernels take so many sums.
bool fits(const CombineProgram& program);
/// Errors: Error(usage) where the step has more sums than kernels take.
void check_sums(const CombineProgram& program);

/// Leaf (replica r, buffer b) lies at gradients[r][b] + offset, in the memory of the GPU that adds.
cuda::SumOrder sum_order(const CombineProgram& program, std::span<const std::vector<float*>> gradients,
                         std::int64_t offset);

}  // namespace dptrain

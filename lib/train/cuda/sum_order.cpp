#include "train/cuda/sum_order.h"

#include "core/error.h"

namespace dptrain {

bool fits(const CombineProgram& program) {
  return program.leaves.size() <= cuda::SumOrder::kMostLeaves && program.depth <= cuda::SumOrder::kDeepest;
}

void check_sums(const CombineProgram& program) {
  if (fits(program)) return;
  fail(ExitStatus::usage,
       "GPUs add at most {} gradient sums of all replicas together, and this job's split leaves {}; choose numbers of "
       "micro-batches and replicas that are powers of two, or fewer replicas",
       cuda::SumOrder::kMostLeaves, program.leaves.size());
}

cuda::SumOrder sum_order(const CombineProgram& program, std::span<const std::vector<float*>> gradients,
                         std::int64_t offset) {
  static_assert(CombineProgram::kAdd == cuda::SumOrder::kAdd);
  check_sums(program);
  cuda::SumOrder order;
  for (std::size_t k = 0; k < program.leaves.size(); ++k) {
    const CombineProgram::Leaf& leaf = program.leaves[k];
    order.leaves[k] = gradients[static_cast<std::size_t>(leaf.replica)][static_cast<std::size_t>(leaf.buffer)] + offset;
  }
  for (const int item : program.postfix) order.postfix[order.length++] = static_cast<std::int8_t>(item);
  return order;
}

}  // namespace dptrain

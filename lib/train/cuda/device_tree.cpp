#include "train/cuda/device_tree.h"

#include "core/error.h"
#include "device/cuda/runtime.h"

namespace dptrain {

namespace {

template <class T>
Buffer on_device(const std::vector<T>& host) {
  Buffer buffer = cuda::device_buffer(host.size() * sizeof(T));
  cuda::check(cudaMemcpy(buffer.data(), host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice),
              "the plan of a reduction could not be copied to the GPU");
  return buffer;
}

}  // namespace

cuda::GradientTree DeviceTrees::of(const StepPlan& plan, const std::vector<const std::vector<float*>*>& gradients) {
  Tables& tables = tables_[&plan];
  if (tables.length == 0) {
    const CombineProgram& program = plan.combine;
    if (program.depth > cuda::GradientTree::kDeepest) {
      fail(ExitStatus::usage, "a step of {} micro-batches needs a deeper tree than GPU kernels can add",
           plan.micro_batches.size());
    }
    std::vector<const float*> leaves;
    for (const CombineProgram::Leaf& leaf : program.leaves) {
      leaves.push_back((*gradients[static_cast<std::size_t>(leaf.replica)])[static_cast<std::size_t>(leaf.buffer)]);
    }
    static_assert(CombineProgram::kAdd == cuda::GradientTree::kAdd);
    tables.leaves = on_device(leaves);
    tables.postfix = on_device(program.postfix);
    tables.length = static_cast<int>(program.postfix.size());
  }
  return {static_cast<const float* const*>(tables.leaves.data()), static_cast<const int*>(tables.postfix.data()),
          tables.length};
}

}  // namespace dptrain

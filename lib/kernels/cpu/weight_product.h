// Purpose: a convolution's weight gradient as one product of matrices, over patches of the input (im2col; Chellapilla
//   et al. 2006), for tensors of 16 bits whose channels lie together. oneDNN's own kernel is slow where rows are short:
//   see pays().
// Thread safety: see primitive.h. Invariants: sums are fp32; the patches lie in the workspace.
#pragma once

#include <vector>

#include "kernels/cpu/primitive.h"

namespace dptrain::cpu {

class WeightProduct {
 public:
  /// Whether it is faster than oneDNN's kernel for that.
  static bool pays(const Conv2dSpec& spec, const TensorDesc& input, const TensorDesc& output);
  /// The gradient's layout: (out, height, width, in).
  static dnnl::memory::desc weights(const Dims& dims);

  WeightProduct(Context& context, const Conv2dSpec& spec, const TensorDesc& input, const TensorDesc& output);

  /// For one more batch size, the next slot.
  void prepare(std::int64_t batch);
  /// Gradient sums; `bias_gradient` is ignored where there is no bias.
  void run(std::size_t slot, const void* x, const void* dy, float* weight_gradient, float* bias_gradient);
  const std::string& implementation(std::size_t slot) const { return products_[slot].implementation(); }

 private:
  Context& context_;
  const Conv2dSpec spec_;
  const TensorDesc input_, output_;
  std::vector<std::int64_t> batches_;
  std::vector<Primitive> products_;
};

}  // namespace dptrain::cpu

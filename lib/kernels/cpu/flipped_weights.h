// Purpose: a convolution's weights as backward by data reads them where it is a convolution forward itself: with stride
//   1 the gradient of the input is the output's, convolved with the weights flipped (turned by 180 degrees), inputs and
//   outputs exchanged.
// Thread safety: see primitive.h. Invariants: made anew once a version.
#pragma once

#include "kernels/cpu/primitive.h"

namespace dptrain::cpu {

class FlippedWeights {
 public:
  /// `dims`: (out, in, height, width) of the convolution; `stored`: its weights, floats; `layout`: of the flipped ones,
  /// whose dims are (in, out, height, width).
  FlippedWeights(Context& context, const Dims& dims, const dnnl::memory::desc& stored,
                 const dnnl::memory::desc& layout);

  const dnnl::memory::desc& layout() const { return layout_; }
  std::int64_t bytes() const { return static_cast<std::int64_t>(copy_.size()); }
  const void* of(const float* weights, std::int64_t version);

 private:
  std::int64_t places_;   // of a kernel
  std::int64_t kernels_;  // in x out
  dnnl::memory::desc layout_;
  Context& context_;
  Primitive exchange_, copy_in_;
  Buffer copy_;
  const float* from_ = nullptr;
  std::int64_t version_ = 0;
};

}  // namespace dptrain::cpu

// Purpose: the weights and the bias of an affine operation as a library reads them: themselves where they are floats to
//   it, otherwise copies in 16 bits. A copy is made once for each version of the weights, not for each micro-batch: it
//   costs 6 bytes a weight and step, and saves 2 in each of the two passes that read it.
// Thread safety: that of the Context. Invariants: nothing is allocated after construction; a recorded step makes the
//   copies that it reads, because its passes come with a version that none before had.
#pragma once

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

class ParameterCopies {
 public:
  struct Sizes {
    std::int64_t weights = 0, biases = 0;  ///< in floats; no biases: there are none
  };
  ParameterCopies(const Context& context, const Sizes& sizes, ElementType weight_type, ElementType bias_type);

  void refresh(const float* weight, const float* bias, std::int64_t version);
  const void* weight(const float* floats) const { return weight_.size() == 0 ? floats : weight_.data(); }
  const void* bias(const float* floats) const { return bias_.size() == 0 ? floats : bias_.data(); }
  std::int64_t bytes() const { return static_cast<std::int64_t>(weight_.size() + bias_.size()); }

 private:
  const Context& context_;
  Sizes sizes_;
  ElementType weight_type_, bias_type_;
  Buffer weight_, bias_;  // empty: the floats themselves are read
  const float* from_ = nullptr;
  std::int64_t version_ = 0;
};

}  // namespace dptrain::cuda

// Purpose: inverted dropout (Srivastava et al. 2014; scaled by 1 / (1 - p) in training, as PyTorch does). The mask is a
//   function of (seed, layer, step, sample id, logical element). Thread safety: see layer.h.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Dropout final : public Layer {
 public:
  Dropout(const DropoutSpec& spec, const LayerContext& context);

  const TensorDesc& output() const override { return tensor_; }
  void prepare(std::int64_t batch) override;
  void forward(const Pass& pass, const ParameterViews&, const void* x, void* y) override;
  void backward(const Pass& pass, const ParameterViews&, const void* x, const void* y, void* dy, void* dx) override;
  bool backward_reads_input() const override { return false; }
  bool backward_reads_output() const override { return false; }
  bool can_forward_in_place() const override { return true; }
  bool backward_in_place() const override { return true; }

 private:
  void apply(std::int64_t batch, const void* from, void* to);

  Kernels& kernels_;
  TensorDesc tensor_;
  double probability_;
  std::uint32_t index_;
  Buffer element_of_place_;  // int32, none for a plain tensor
  Buffer mask_;              // bytes, (largest batch, places)
  Buffer scratch_;           // bytes, one sample in logical order
};

}  // namespace dptrain

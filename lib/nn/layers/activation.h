// Purpose: relu, leaky_relu, gelu, sigmoid, tanh. Thread safety: see layer.h.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Activation final : public Layer {
 public:
  Activation(const ActivationSpec& spec, const LayerContext& context)
      : operation_(context.kernels.activation(context.input, spec)),
        from_input_(backward_needs_input(spec)),
        fused_before_(context.fused_before) {}

  const TensorDesc& output() const override { return operation_->output(); }
  void prepare(std::int64_t batch) override { operation_->prepare(batch); }
  void forward(const Pass& pass, const ParameterViews&, const void* x, void* y) override {
    if (!fused_before_) operation_->forward(pass.slot, x, y);
  }
  void backward(const Pass& pass, const ParameterViews&, const void* x, const void* y, void* dy, void* dx) override {
    operation_->backward(pass.slot, x, y, dy, dx);
  }
  bool backward_reads_input() const override { return from_input_; }
  bool backward_reads_output() const override { return !from_input_; }
  bool can_forward_in_place() const override { return !from_input_; }
  bool backward_in_place() const override { return true; }
  std::vector<std::string> implementations() const override { return operation_->implementations(); }

 private:
  std::unique_ptr<UnaryOperation> operation_;
  bool from_input_, fused_before_;
};

}  // namespace dptrain

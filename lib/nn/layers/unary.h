// Purpose: layers that are one parameterless operation: pooling, softmax, and the reorder that a model puts before
//   layers which need plain tensors. Thread safety: see layer.h.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Unary final : public Layer {
 public:
  Unary(std::unique_ptr<UnaryOperation> operation, bool backward_reads_output)
      : operation_(std::move(operation)), output_(operation_->output()), reads_output_(backward_reads_output) {}
  /// The same, and its output is called `output`, which is the same memory.
  Unary(std::unique_ptr<UnaryOperation> operation, TensorDesc output)
      : operation_(std::move(operation)), output_(std::move(output)), reads_output_(false) {}

  const TensorDesc& output() const override { return output_; }
  void prepare(std::int64_t batch) override { operation_->prepare(batch); }
  void forward(const Pass& pass, const ParameterViews&, const void* x, void* y) override {
    operation_->forward(pass.slot, x, y);
  }
  void backward(const Pass& pass, const ParameterViews&, const void* x, const void* y, void* dy, void* dx) override {
    operation_->backward(pass.slot, x, y, dy, dx);
  }
  bool backward_reads_input() const override { return false; }
  bool backward_reads_output() const override { return reads_output_; }
  std::vector<std::string> implementations() const override { return operation_->implementations(); }

 private:
  std::unique_ptr<UnaryOperation> operation_;
  TensorDesc output_;
  bool reads_output_;
};

}  // namespace dptrain

// Purpose: linear and conv2d, which differ only in the operation that computes W x. Thread safety: see layer.h.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Affine final : public Layer {
 public:
  /// `weight` describes the canonical weight; its packer and stored size are filled in here.
  Affine(std::unique_ptr<AffineOperation> operation, ParameterDesc weight, bool bias);

  const TensorDesc& output() const override { return operation_->output(); }
  std::vector<ParameterDesc> parameters() const override;
  void prepare(std::int64_t batch) override { operation_->prepare(batch); }
  void forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) override;
  void backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void* y, void* dy,
                void* dx) override;
  bool backward_reads_input() const override { return true; }
  bool backward_reads_output() const override { return false; }
  std::int64_t copy_bytes() const override { return operation_->copy_bytes(); }
  std::vector<std::string> implementations() const override { return operation_->implementations(); }

 private:
  std::unique_ptr<AffineOperation> operation_;
  ParameterDesc weight_;
  bool bias_;
};

std::unique_ptr<Layer> make_linear_layer(const LinearSpec& spec, const LayerContext& context);
std::unique_ptr<Layer> make_conv2d_layer(const Conv2dSpec& spec, const LayerContext& context);

}  // namespace dptrain

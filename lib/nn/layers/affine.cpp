#include "nn/layers/affine.h"

namespace dptrain {

Affine::Affine(std::unique_ptr<AffineOperation> operation, ParameterDesc weight, bool bias)
    : operation_(std::move(operation)), weight_(std::move(weight)), bias_(bias) {
  weight_.stored_floats = operation_->weight_floats();
  weight_.packer = operation_.get();
}

std::vector<ParameterDesc> Affine::parameters() const {
  std::vector<ParameterDesc> all{weight_};
  if (bias_) {
    ParameterDesc bias = weight_;
    bias.name = "bias";
    bias.shape = Shape{weight_.shape[0]};
    bias.stored_floats = weight_.shape[0];
    bias.packer = nullptr;
    bias.role = ParameterRole::bias;
    all.push_back(bias);
  }
  return all;
}

void Affine::forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) {
  const float *weight = parameters.values[0], *bias = bias_ ? parameters.values[1] : nullptr;
  operation_->set_weights(weight, bias, pass.weights);
  operation_->forward(pass.slot, x, weight, bias, y);
}

void Affine::backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void*, void* dy,
                      void* dx) {
  operation_->backward_weights(pass.slot, x, dy, parameters.gradients[0], bias_ ? parameters.gradients[1] : nullptr);
  if (dx != nullptr) operation_->backward_data(pass.slot, dy, parameters.values[0], pass.weights, dx);
}

std::unique_ptr<Layer> make_linear_layer(const LinearSpec& spec, const LayerContext& context) {
  const std::int64_t in = context.input.shape.elements();
  ParameterDesc weight{.name = "weight",
                       .shape = Shape{spec.out_features, in},
                       .fan_in = in,
                       .fan_out = spec.out_features,
                       .init = spec.init};
  auto operation = context.kernels.linear({.input = context.input,
                                           .out_features = spec.out_features,
                                           .bias = spec.bias,
                                           .activation = context.fused,
                                           .full_batch = context.full_batch,
                                           .input_gradient = context.input_gradient,
                                           .types = context.types});
  return std::make_unique<Affine>(std::move(operation), std::move(weight), spec.bias);
}

std::unique_ptr<Layer> make_conv2d_layer(const Conv2dSpec& spec, const LayerContext& context) {
  const std::int64_t in = context.input.shape[0] / spec.groups, area = spec.kernel_height * spec.kernel_width;
  ParameterDesc weight{.name = "weight",
                       .shape = Shape{spec.out_channels, in, spec.kernel_height, spec.kernel_width},
                       .fan_in = in * area,
                       .fan_out = spec.out_channels * area,  // PyTorch's, which does not divide by the groups
                       .init = spec.init};
  auto operation = context.kernels.convolution({.input = context.input,
                                                .spec = spec,
                                                .activation = context.fused,
                                                .full_batch = context.full_batch,
                                                .input_gradient = context.input_gradient,
                                                .types = context.types});
  return std::make_unique<Affine>(std::move(operation), std::move(weight), spec.bias);
}

}  // namespace dptrain

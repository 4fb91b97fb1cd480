#include "nn/layers/norm.h"

namespace dptrain {

Norm::Norm(const NormSpec& spec, const LayerContext& context) : spec_(spec), tensor_(context.input) {
  // All elements of a sample are one group of features; takes_layout() has seen to it that they lie in order.
  const bool whole = spec.kind == NormKind::layer;
  operation_ =
      context.kernels.norm({.input = whole ? TensorDesc(Shape{tensor_.shape.elements()}).as(tensor_.type) : tensor_,
                            .spec = spec,
                            .relu = context.fused.has_value()});
}

std::vector<ParameterDesc> Norm::parameters() const {
  const Shape shape = spec_.kind == NormKind::layer ? tensor_.shape : Shape{tensor_.shape[0]};
  std::vector<ParameterDesc> all;
  const auto add = [&](const char* name, ParameterRole role, float start) {
    all.push_back({.name = name,
                   .shape = shape,
                   .stored_floats = shape.elements(),
                   .role = role,
                   .statistic_rate = spec_.momentum,
                   .start = start});
  };
  if (spec_.affine) {
    add("weight", ParameterRole::norm, 1);
    add("bias", ParameterRole::norm, 0);
  }
  if (has_statistics()) {
    add("running_mean", ParameterRole::statistic, 0);
    add("running_var", ParameterRole::statistic, 1);
  }
  return all;
}

NormParameters Norm::values(const ParameterViews& views) const {
  NormParameters all;
  std::size_t next = 0;
  if (spec_.affine) {
    all.weight = views.values[next++];
    all.bias = views.values[next++];
  }
  if (has_statistics()) {
    all.mean = views.values[next++];
    all.variance = views.values[next];
  }
  return all;
}

void Norm::forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) {
  if (has_statistics() && !pass.training)
    operation_->infer(pass.slot, x, values(parameters), y);
  else
    operation_->forward(pass.slot, x, values(parameters), y);
}

void Norm::backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void*, void* dy,
                    void* dx) {
  operation_->backward(pass.slot, x, values(parameters), dy, dx, gradients(parameters));
  if (has_statistics() && !operation_->backward_writes_statistics()) write_statistics(pass, parameters);
}

NormGradients Norm::gradients(const ParameterViews& views) const {
  NormGradients all;
  std::size_t next = 0;
  if (spec_.affine) {
    all.weight = views.gradients[next++];
    all.bias = views.gradients[next++];
  }
  if (has_statistics()) {
    all.mean = views.gradients[next++];
    all.variance = views.gradients[next];
  }
  return all;
}

void Norm::write_statistics(const Pass& pass, const ParameterViews& views) {
  const std::size_t first = spec_.affine ? 2 : 0;
  operation_->statistics(pass.slot, views.gradients[first], views.gradients[first + 1]);
}

}  // namespace dptrain

#include "nn/layers/dropout.h"

#include <cstring>

namespace dptrain {

Dropout::Dropout(const DropoutSpec& spec, const LayerContext& context)
    : kernels_(context.kernels), tensor_(context.input), probability_(spec.probability), index_(context.index) {
  if (!tensor_.plain()) element_of_place_ = tensor_.logical_elements();
}

void Dropout::prepare(std::int64_t batch) {
  const auto needed = static_cast<std::size_t>(batch * tensor_.shape.elements());
  if (mask_.size() < needed) mask_.resize(needed);
}

void Dropout::apply(std::int64_t batch, const float* from, float* to) {
  kernels_.dropout_apply(mask_.data(), element_of_place_, batch, tensor_.size(), tensor_.shape.elements(),
                         static_cast<float>(1.0 / (1.0 - probability_)), from, to);
}

void Dropout::forward(const Pass& pass, const ParameterViews&, const float* x, float* y) {
  if (!pass.training) {
    if (x != y) std::memcpy(y, x, static_cast<std::size_t>(pass.batch * tensor_.size()) * sizeof(float));
    return;
  }
  kernels_.dropout_mask(pass.seed, index_, pass.step, pass.ids, tensor_.shape.elements(), probability_, mask_.data());
  apply(pass.batch, x, y);
}

void Dropout::backward(const Pass& pass, const ParameterViews&, const float*, const float*, float* dy, float* dx) {
  apply(pass.batch, dy, dx);
}

}  // namespace dptrain

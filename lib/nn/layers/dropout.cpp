#include "nn/layers/dropout.h"

#include <algorithm>
#include <cstring>

namespace dptrain {

Dropout::Dropout(const DropoutSpec& spec, const LayerContext& context)
    : kernels_(context.kernels), tensor_(context.input), probability_(spec.probability), index_(context.index) {
  if (tensor_.plain()) return;
  const auto elements = static_cast<std::int32_t>(tensor_.shape.elements());
  element_of_place_ = tensor_.logical_elements();
  std::replace(element_of_place_.begin(), element_of_place_.end(), -1, elements);  // padding, as DropoutDraw wants it
  scratch_.resize(static_cast<std::size_t>(elements) + 1);
}

void Dropout::prepare(std::int64_t batch) {
  const auto needed = static_cast<std::size_t>(batch * tensor_.size());
  if (mask_.size() < needed) mask_.resize(needed);
}

void Dropout::apply(std::int64_t batch, const float* from, float* to) {
  kernels_.dropout_apply(mask_.data(), batch * tensor_.size(), static_cast<float>(1.0 / (1.0 - probability_)), from,
                         to);
}

void Dropout::forward(const Pass& pass, const ParameterViews&, const float* x, float* y) {
  if (!pass.training) {
    if (x != y) std::memcpy(y, x, static_cast<std::size_t>(pass.batch * tensor_.size()) * sizeof(float));
    return;
  }
  kernels_.dropout_mask({.seed = pass.seed,
                         .layer = index_,
                         .step = pass.step,
                         .probability = probability_,
                         .elements = tensor_.shape.elements(),
                         .element_of_place = element_of_place_,
                         .scratch = scratch_.data()},
                        pass.ids, mask_.data());
  apply(pass.batch, x, y);
}

void Dropout::backward(const Pass& pass, const ParameterViews&, const float*, const float*, float* dy, float* dx) {
  apply(pass.batch, dy, dx);
}

}  // namespace dptrain

#include "nn/layers/dropout.h"

#include <algorithm>

namespace dptrain {

Dropout::Dropout(const DropoutSpec& spec, const LayerContext& context)
    : kernels_(context.kernels), tensor_(context.input), probability_(spec.probability), index_(context.index) {
  if (tensor_.plain()) return;
  const auto elements = static_cast<std::int32_t>(tensor_.shape.elements());
  std::vector<std::int32_t> element_of_place = tensor_.logical_elements();
  std::replace(element_of_place.begin(), element_of_place.end(), -1, elements);  // padding, as DropoutDraw wants it
  const std::size_t bytes = element_of_place.size() * sizeof(std::int32_t);
  element_of_place_ = kernels_.allocate(bytes);
  kernels_.upload(element_of_place.data(), bytes, element_of_place_.data());
  scratch_ = kernels_.allocate(static_cast<std::size_t>(elements) + 1);
}

void Dropout::prepare(std::int64_t batch) {
  const auto needed = static_cast<std::size_t>(batch * tensor_.size());
  if (mask_.size() < needed) mask_ = kernels_.allocate(needed);
}

void Dropout::apply(std::int64_t batch, const void* from, void* to) {
  kernels_.dropout_apply(static_cast<const std::uint8_t*>(mask_.data()), batch * tensor_.size(),
                         static_cast<float>(1.0 / (1.0 - probability_)), tensor_.type, from, to);
}

void Dropout::forward(const Pass& pass, const ParameterViews&, const void* x, void* y) {
  if (!pass.training) {
    if (x != y) kernels_.copy(x, pass.batch * tensor_.bytes(), y);
    return;
  }
  kernels_.dropout_mask({.seed = pass.seed,
                         .layer = index_,
                         .step = pass.step_on_device,
                         .probability = probability_,
                         .elements = tensor_.shape.elements(),
                         .places = tensor_.size(),
                         .element_of_place = static_cast<const std::int32_t*>(element_of_place_.data()),
                         .scratch = static_cast<std::uint8_t*>(scratch_.data())},
                        pass.ids, pass.batch, static_cast<std::uint8_t*>(mask_.data()));
  apply(pass.batch, x, y);
}

void Dropout::backward(const Pass& pass, const ParameterViews&, const void*, const void*, void* dy, void* dx) {
  apply(pass.batch, dy, dx);
}

}  // namespace dptrain

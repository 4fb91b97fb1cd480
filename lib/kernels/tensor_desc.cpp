#include "kernels/tensor_desc.h"

namespace dptrain {

std::int64_t TensorDesc::size() const {
  if (layout.order != Layout::Order::blocked) return shape.elements();
  const std::int64_t blocks = (stored[0] + layout.block - 1) / layout.block;
  return blocks * layout.block * stored[1] * stored[2];
}

TensorDesc TensorDesc::as(ElementType other) const {
  TensorDesc same = *this;
  same.type = other;
  return same;
}

TensorDesc TensorDesc::flattened() const {
  TensorDesc flat = *this;
  flat.shape = Shape{shape.elements()};
  if (plain()) flat.stored = flat.shape;
  return flat;
}

std::vector<std::int32_t> TensorDesc::logical_elements() const {
  std::vector<std::int32_t> elements(static_cast<std::size_t>(size()));
  if (plain()) {
    for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = static_cast<std::int32_t>(i);
    return elements;
  }
  const std::int64_t channels = stored[0], area = stored[1] * stored[2];
  const std::int64_t block = layout.order == Layout::Order::blocked ? layout.block : channels;
  std::size_t place = 0;
  for (std::int64_t first = 0; first < channels; first += block) {
    for (std::int64_t pixel = 0; pixel < area; ++pixel) {
      for (std::int64_t c = first; c < first + block; ++c) {
        elements[place++] = c < channels ? static_cast<std::int32_t>(c * area + pixel) : -1;
      }
    }
  }
  return elements;
}

}  // namespace dptrain

// Tensors of several samples in the layouts of a TensorDesc, from and to plain ones, by the definition alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/tensor_desc.h"

namespace dptrain::testing {

/// All layouts that a tensor of this shape can have.
inline std::vector<Layout> all_layouts(const Shape& shape) {
  if (shape.rank() != 3) return {Layout{}};
  return {Layout{}, {Layout::Order::channels_last, 1}, {Layout::Order::blocked, 8}, {Layout::Order::blocked, 16}};
}

/// Where logical element (c, h, w) of an image lies in a sample, from the definition of the layouts.
inline std::int64_t place_of(const TensorDesc& tensor, std::int64_t c, std::int64_t h, std::int64_t w) {
  const std::int64_t channels = tensor.stored[0], height = tensor.stored[1], width = tensor.stored[2],
                     b = tensor.layout.block;
  switch (tensor.layout.order) {
    case Layout::Order::plain:
      return (c * height + h) * width + w;
    case Layout::Order::channels_last:
      return (h * width + w) * channels + c;
    case Layout::Order::blocked:
      break;
  }
  return ((c / b * height + h) * width + w) * b + c % b;
}

/// The places of all logical elements of a sample, in the order of the elements.
inline std::vector<std::int64_t> places(const TensorDesc& tensor) {
  std::vector<std::int64_t> all;
  if (tensor.stored.rank() != 3) {
    for (std::int64_t i = 0; i < tensor.shape.elements(); ++i) all.push_back(i);
    return all;
  }
  for (std::int64_t c = 0; c < tensor.stored[0]; ++c) {
    for (std::int64_t h = 0; h < tensor.stored[1]; ++h) {
      for (std::int64_t w = 0; w < tensor.stored[2]; ++w) all.push_back(place_of(tensor, c, h, w));
    }
  }
  return all;
}

/// (batch, elements) plain -> (batch, tensor.size()), padding zero.
inline void to_layout(const TensorDesc& tensor, std::span<const float> plain, float* stored) {
  const std::vector<std::int64_t> at = places(tensor);
  const std::size_t elements = at.size(), size = static_cast<std::size_t>(tensor.size());
  for (std::size_t s = 0; s < plain.size() / elements; ++s) {
    std::fill_n(stored + s * size, size, 0.0f);
    for (std::size_t e = 0; e < elements; ++e)
      stored[s * size + static_cast<std::size_t>(at[e])] = plain[s * elements + e];
  }
}

inline std::vector<float> from_layout(const TensorDesc& tensor, const float* stored, std::int64_t batch) {
  const std::vector<std::int64_t> at = places(tensor);
  std::vector<float> plain;
  for (std::int64_t s = 0; s < batch; ++s) {
    for (const std::int64_t place : at) plain.push_back(stored[s * tensor.size() + place]);
  }
  return plain;
}

/// Whether every place that holds no logical element is zero.
inline bool padding_is_zero(const TensorDesc& tensor, const float* stored, std::int64_t batch) {
  std::vector<bool> used(static_cast<std::size_t>(tensor.size()));
  for (const std::int64_t place : places(tensor)) used[static_cast<std::size_t>(place)] = true;
  for (std::int64_t s = 0; s < batch; ++s) {
    for (std::size_t p = 0; p < used.size(); ++p) {
      if (!used[p] && stored[static_cast<std::size_t>(s * tensor.size()) + p] != 0.0f) return false;
    }
  }
  return true;
}

}  // namespace dptrain::testing

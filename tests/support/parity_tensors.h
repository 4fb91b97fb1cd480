// Tensors in a backend's memory, and their comparison with references: what the checks of parity.h are made of.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/bfloat16.h"
#include "core/float16.h"
#include "support/layouts.h"
#include "support/parity.h"
#include "support/reference.h"

namespace dptrain::testing {

/// Four roundings, of 8 bits or of 11.
constexpr double tolerance_of(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return 1e-4;
    case ElementType::bfloat16:
      return 0x1p-7;
    case ElementType::float16:
      return 0x1p-10;
  }
  return 0;
}

/// use(an element of that type), whose value means nothing.
template <class Use>
auto with_stored(ElementType type, const Use& use) {
  if (type == ElementType::float32) return use(float{});
  return type == ElementType::bfloat16 ? use(BFloat16{}) : use(Float16{});
}

inline std::vector<float> rounded(std::vector<float> values, ElementType type) {
  with_stored(type, [&]<class Stored>(Stored) {
    for (float& value : values) value = static_cast<float>(Stored(value));
  });
  return values;
}

constexpr float kGuard = 77;
constexpr std::size_t kGuards = 16;  // behind each tensor

/// A tensor of several samples in the device's memory. Without values it starts as NaN, so that adding onto it shows.
class DeviceTensor {
 public:
  DeviceTensor(Backend& backend, TensorDesc desc, std::int64_t batch) : DeviceTensor(backend, desc, batch, {}) {}
  DeviceTensor(Backend& backend, TensorDesc desc, std::int64_t batch, const std::vector<float>& plain)
      : backend_(backend), desc_(std::move(desc)), batch_(batch), host_(size() + kGuards, kGuard) {
    std::fill_n(host_.begin(), size(), std::numeric_limits<float>::quiet_NaN());
    if (!plain.empty()) to_layout(desc_, plain, host_.data());
    memory_ = backend.kernels->allocate(bytes());
    with_stored(desc_.type, [&]<class Stored>(Stored) {
      const std::vector<Stored> stored(host_.begin(), host_.end());
      backend.kernels->upload(stored.data(), bytes(), memory_.data());
    });
  }
  void* data() const { return memory_.data(); }
  float* floats() const {
    CHECK(desc_.type == ElementType::float32);
    return memory_.floats();
  }
  double tolerance() const { return tolerance_of(desc_.type); }
  std::vector<float> plain() {
    read();
    return from_layout(desc_, host_.data(), batch_);
  }
  /// As it lies in memory.
  const float* stored() {
    read();
    return host_.data();
  }

 private:
  std::size_t size() const { return static_cast<std::size_t>(desc_.size() * batch_); }
  std::size_t bytes() const { return host_.size() * static_cast<std::size_t>(bytes_of(desc_.type)); }
  void read() {
    with_stored(desc_.type, [&]<class Stored>(Stored) {
      std::vector<Stored> stored(host_.size());
      backend_.read(memory_.data(), bytes(), stored.data());
      std::transform(stored.begin(), stored.end(), host_.begin(),
                     [](Stored value) { return static_cast<float>(value); });
    });
    CHECK(std::all_of(host_.end() - kGuards, host_.end(), [](float f) { return f == kGuard; }));
    CHECK(padding_is_zero(desc_, host_.data(), batch_));
  }

  Backend& backend_;
  TensorDesc desc_;
  std::int64_t batch_;
  std::vector<float> host_;
  Buffer memory_;
};

/// At least one float, for a bias that is not there.
inline DeviceTensor vector_of(Backend& backend, std::int64_t floats, const std::vector<float>& values = {}) {
  return {backend, TensorDesc(Shape{std::max<std::int64_t>(floats, 1)}), 1, values};
}

inline reference::Values wide(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

inline void compare(const std::vector<float>& values, const reference::Values& expected, const std::string& what,
                    double tolerance = tolerance_of(ElementType::float32), double least = 0.1) {
  REQUIRE(values.size() == expected.size());
  // Random sums may cancel to almost nothing, where rounding is as large as ever: their terms are of the order of 1.
  double largest = least, worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double error = std::abs(double{values[i]} - expected[i]);
    worst = error <= worst ? worst : error;  // NaN becomes the worst, and stays
    if (std::isnan(worst)) break;
  }
  CHECK_MESSAGE(worst <= tolerance * largest, fmt::format("{}: {} off where the largest is {}", what, worst, largest));
}

inline void compare(DeviceTensor& tensor, const reference::Values& expected, const std::string& what) {
  compare(tensor.plain(), expected, what, tensor.tolerance());
}

inline std::vector<TensorDesc> tensors_of(const Backend& backend, const Shape& shape) {
  if (shape.rank() != 3) return {TensorDesc(shape).as(backend.type)};
  std::vector<TensorDesc> all;
  for (const Layout& layout : backend.layouts(shape)) all.emplace_back(shape, layout, backend.type);
  return all;
}

inline std::string name_of(const TensorDesc& tensor) {
  return fmt::format("{} in layout {}/{}{}", tensor.shape.text(), static_cast<int>(tensor.layout.order),
                     tensor.layout.block,
                     tensor.type == ElementType::float32    ? ""
                     : tensor.type == ElementType::bfloat16 ? " bf16"
                                                            : " fp16");
}

}  // namespace dptrain::testing

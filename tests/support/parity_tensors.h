// Tensors in a backend's memory, and their comparison with references: what the checks of parity.h are made of.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/layouts.h"
#include "support/parity.h"
#include "support/reference.h"

namespace dptrain::testing {

constexpr double kTolerance = 1e-4;
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
    memory_ = backend.kernels->allocate(host_.size() * sizeof(float));
    backend.kernels->upload(host_.data(), host_.size() * sizeof(float), memory_.data());
  }
  float* data() const { return memory_.floats(); }
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
  void read() {
    backend_.read(memory_.data(), host_.size() * sizeof(float), host_.data());
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

inline void compare(const std::vector<float>& values, const reference::Values& expected, const std::string& what) {
  REQUIRE(values.size() == expected.size());
  // Random sums may cancel to almost nothing, where rounding is as large as ever: their terms are of the order of 1.
  double largest = 0.1, worst = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double error = std::abs(double{values[i]} - expected[i]);
    worst = error <= worst ? worst : error;  // NaN becomes the worst, and stays
    if (std::isnan(worst)) break;
  }
  CHECK_MESSAGE(worst <= kTolerance * largest, fmt::format("{}: {} off where the largest is {}", what, worst, largest));
}

inline std::vector<TensorDesc> tensors_of(const Backend& backend, const Shape& shape) {
  if (shape.rank() != 3) return {TensorDesc(shape)};
  std::vector<TensorDesc> all;
  for (const Layout& layout : backend.layouts(shape)) all.emplace_back(shape, layout);
  return all;
}

inline std::string name_of(const TensorDesc& tensor) {
  return fmt::format("{} in layout {}/{}", tensor.shape.text(), static_cast<int>(tensor.layout.order),
                     tensor.layout.block);
}

}  // namespace dptrain::testing

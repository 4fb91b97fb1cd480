// Sums of two tensors: where residual blocks end, and where the gradients of their paths meet.
#include <cstring>

#include "kernels/add_places.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

namespace {

float positive(float value) {
  return value < 0.0f ? 0.0f : value;  // NaN stays NaN
}

class Add final : public AddOperation {
 public:
  explicit Add(const AddConfig& config) : config_(config), same_(config.a == config.b && config.stride == 1) {
    if (!same_) places_ = add_places(config);
  }

  const TensorDesc& output() const override { return config_.a; }
  void prepare(std::int64_t batch) override { batches_.push_back(batch); }
  std::vector<std::string> implementations() const override { return {}; }
  bool same_places() const override { return same_; }

  void forward(Slot slot, const float* a, const float* b, float* y) override {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)];
    if (!same_) return forward_elsewhere(batch, a, b, y);
    const std::int64_t count = batch * config_.a.size();
    // An element reads only its own place of what it may overwrite.
    if (config_.relu) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) y[i] = positive(a[i] + b[i]);
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
    }
  }

  void backward(Slot slot, const float* dy, const float* base, float* dx) override {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)], count = batch * config_.b.size();
    if (!same_) return backward_elsewhere(batch, dy, base, dx);
    if (base == nullptr) {
      std::memcpy(dx, dy, static_cast<std::size_t>(count) * sizeof(float));
      return;
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) dx[i] = base[i] + dy[i];
  }

 private:
  void forward_elsewhere(std::int64_t batch, const float* a, const float* b, float* y) const {
    const std::size_t size = places_.of_a.size();
    for (; batch > 0; --batch, a += size, b += places_.of_b.size(), y += size) {
      for (std::size_t i = 0; i < size; ++i) {
        const std::int32_t other = places_.of_a[i];
        const float sum = other < 0 ? a[i] : a[i] + b[other];
        y[i] = config_.relu ? positive(sum) : sum;
      }
    }
  }
  void backward_elsewhere(std::int64_t batch, const float* dy, const float* base, float* dx) const {
    const std::size_t size = places_.of_b.size();
    for (; batch > 0; --batch, dy += places_.of_a.size(), dx += size) {
      for (std::size_t i = 0; i < size; ++i) {
        const std::int32_t other = places_.of_b[i];
        const float gradient = other < 0 ? 0.0f : dy[other];
        dx[i] = base == nullptr ? gradient : base[i] + gradient;
      }
      if (base != nullptr) base += size;
    }
  }

  AddConfig config_;
  bool same_;
  AddPlaces places_;                   // empty where both lie alike
  std::vector<std::int64_t> batches_;  // by slot
};

}  // namespace

std::unique_ptr<AddOperation> make_add(const AddConfig& config) {
  return std::make_unique<Add>(config);
}

}  // namespace dptrain::cpu

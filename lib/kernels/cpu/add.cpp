// Sums of two tensors: where residual blocks end, and where the gradients of their paths meet.
#include <algorithm>
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
    if (same_) return;
    const AddPlaces places = add_places(config);
    of_a_ = runs_of(places.of_a);
    of_b_ = runs_of(places.of_b);
  }

  const TensorDesc& output() const override { return config_.a; }
  void prepare(std::int64_t batch) override { batches_.push_back(batch); }
  std::vector<std::string> implementations() const override { return {}; }
  bool same_places() const override { return same_; }

  void forward(Slot slot, const float* a, const float* b, float* y) override {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)];
    const std::int64_t count = batch * config_.a.size();
    if (!same_) {
      add_runs(of_a_, batch, config_.a.size(), a, config_.b.size(), b, y);
      for (std::int64_t i = 0; config_.relu && i < count; ++i) y[i] = positive(y[i]);
      return;
    }
    // An element reads only its own place of what it may overwrite.
    if (config_.relu) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) y[i] = positive(a[i] + b[i]);
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
    }
  }

  void backward(Slot slot, const float* dy, const float* base, const float* rectified, float* dx) override {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)], count = batch * config_.b.size();
    if (!same_) {
      add_runs(of_b_, batch, config_.b.size(), base, config_.a.size(), dy, dx);
      for (std::int64_t i = 0; rectified != nullptr && i < count; ++i) dx[i] = rectified[i] > 0.0f ? dx[i] : 0.0f;
    } else if (base == nullptr && rectified == nullptr) {
      std::memcpy(dx, dy, static_cast<std::size_t>(count) * sizeof(float));
    } else if (base == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) dx[i] = rectified[i] > 0.0f ? dy[i] : 0.0f;
    } else if (rectified == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) dx[i] = base[i] + dy[i];
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) {
        const float sum = base[i] + dy[i];  // before the choice, so that the choice needs no branch
        dx[i] = rectified[i] > 0.0f ? sum : 0.0f;
      }
    }
  }

 private:
  /// Neighbouring places that take from neighbouring ones: the channels of a pixel, where both lie in blocks.
  struct Run {
    std::int32_t place, other, length;  ///< other < 0: there is nothing to take
  };
  static std::vector<Run> runs_of(const std::vector<std::int32_t>& others) {
    std::vector<Run> runs;
    for (std::size_t place = 0; place < others.size(); ++place) {
      const std::int32_t other = others[place];
      const bool goes_on =
          !runs.empty() && (other < 0 ? runs.back().other < 0
                                      : runs.back().other >= 0 && other == runs.back().other + runs.back().length);
      if (goes_on)
        ++runs.back().length;
      else
        runs.push_back({static_cast<std::int32_t>(place), other, 1});
    }
    return runs;
  }

  /// y = base + what of `from` goes there, each sample; a null base is zero.
  static void add_runs(const std::vector<Run>& runs, std::int64_t batch, std::int64_t size, const float* base,
                       std::int64_t from_size, const float* from, float* y) {
    for (; batch > 0; --batch, from += from_size, y += size) {
      for (const Run& run : runs) {
        const float* in = base == nullptr ? nullptr : base + run.place;
        float* out = y + run.place;
        if (run.other < 0) {
          if (in == nullptr)
            std::fill_n(out, run.length, 0.0f);
          else if (in != out)
            std::copy_n(in, run.length, out);
          continue;
        }
        const float* other = from + run.other;
        if (in == nullptr) {
          std::copy_n(other, run.length, out);
          continue;
        }
#pragma GCC ivdep
        for (std::int32_t k = 0; k < run.length; ++k) out[k] = in[k] + other[k];
      }
      if (base != nullptr) base += size;
    }
  }

  AddConfig config_;
  bool same_;
  std::vector<Run> of_a_, of_b_;       // of a sample; none where both lie alike
  std::vector<std::int64_t> batches_;  // by slot
};

}  // namespace

std::unique_ptr<AddOperation> make_add(const AddConfig& config) {
  return std::make_unique<Add>(config);
}

}  // namespace dptrain::cpu

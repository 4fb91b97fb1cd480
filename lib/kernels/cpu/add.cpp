// Sums of two tensors: where residual blocks end, and where the gradients of their paths meet.
#include <algorithm>
#include <cstring>

#include "kernels/add_places.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

namespace {

float positive(float value) {
  return value < 0.0f ? 0.0f : value;  // NaN stays NaN
}

template <class Element>
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

  void forward(Slot slot, const void* a, const void* b, void* y) override {
    sum(slot, static_cast<const Element*>(a), static_cast<const Element*>(b), static_cast<Element*>(y));
  }
  void backward(Slot slot, const void* dy, const void* base, const void* rectified, void* dx) override {
    differentiate(slot, static_cast<const Element*>(dy), static_cast<const Element*>(base),
                  static_cast<const Element*>(rectified), static_cast<Element*>(dx));
  }

 private:
  void sum(Slot slot, const Element* a, const Element* b, Element* y) const {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)];
    const std::int64_t count = batch * config_.a.size();
    if (!same_) {
      add_runs(of_a_, batch, config_.a.size(), a, config_.b.size(), b, y);
      for (std::int64_t i = 0; config_.relu && i < count; ++i) y[i] = Element(positive(static_cast<float>(y[i])));
      return;
    }
    // An element reads only its own place of what it may overwrite.
    if (config_.relu) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i)
        y[i] = Element(positive(static_cast<float>(a[i]) + static_cast<float>(b[i])));
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) y[i] = Element(static_cast<float>(a[i]) + static_cast<float>(b[i]));
    }
  }

  void differentiate(Slot slot, const Element* dy, const Element* base, const Element* rectified, Element* dx) const {
    const std::int64_t batch = batches_[static_cast<std::size_t>(slot)], count = batch * config_.b.size();
    const auto open = [&](std::int64_t i) { return static_cast<float>(rectified[i]) > 0.0f; };
    if (!same_) {
      add_runs(of_b_, batch, config_.b.size(), base, config_.a.size(), dy, dx);
      for (std::int64_t i = 0; rectified != nullptr && i < count; ++i)
        dx[i] = Element(open(i) ? static_cast<float>(dx[i]) : 0.0f);
    } else if (base == nullptr && rectified == nullptr) {
      std::memcpy(dx, dy, static_cast<std::size_t>(count) * sizeof(Element));
    } else if (base == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) dx[i] = Element(open(i) ? static_cast<float>(dy[i]) : 0.0f);
    } else if (rectified == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) dx[i] = Element(static_cast<float>(base[i]) + static_cast<float>(dy[i]));
    } else {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) {
        // Before the choice, and chosen in fp32, so that the choice needs no branch.
        const float sum = static_cast<float>(base[i]) + static_cast<float>(dy[i]);
        dx[i] = Element(open(i) ? sum : 0.0f);
      }
    }
  }

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
  static void add_runs(const std::vector<Run>& runs, std::int64_t batch, std::int64_t size, const Element* base,
                       std::int64_t from_size, const Element* from, Element* y) {
    for (; batch > 0; --batch, from += from_size, y += size) {
      for (const Run& run : runs) {
        const Element* in = base == nullptr ? nullptr : base + run.place;
        Element* out = y + run.place;
        if (run.other < 0) {
          if (in == nullptr)
            std::fill_n(out, run.length, Element(0.0f));
          else if (in != out)
            std::copy_n(in, run.length, out);
          continue;
        }
        const Element* other = from + run.other;
        if (in == nullptr) {
          std::copy_n(other, run.length, out);
          continue;
        }
#pragma GCC ivdep
        for (std::int32_t k = 0; k < run.length; ++k)
          out[k] = Element(static_cast<float>(in[k]) + static_cast<float>(other[k]));
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
  return with_element(config.a.type, [&]<class Element>(Element) -> std::unique_ptr<AddOperation> {
    return std::make_unique<Add<Element>>(config);
  });
}

}  // namespace dptrain::cpu

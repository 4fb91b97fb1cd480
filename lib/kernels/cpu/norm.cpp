// Batch, group and layer normalisation, in every layout without a reorder.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/norm_loops.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

namespace {

/// One value a channel of a sample, padded channels last, which stay zero.
using Channels = std::vector<float>;

/// A sum in an order that depends on the count alone, and vectorises.
template <class Term>
float sum_of(std::int64_t count, const Term& term) {
  constexpr std::int64_t kLanes = 16;
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(i + lane);
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < count; ++i) sum += term(i);
  return sum;
}

/// A sample as blocks of rows of lanes, and what both kinds of norms share.
class Norm : public NormOperation {
 public:
  explicit Norm(const NormConfig& config) : config_(config), channels_(config.input.shape[0]) {
    const TensorDesc& input = config.input;
    DPTRAIN_CHECK(input.shape.rank() == 3 || input.plain(), "features are normalised in plain layout");
    const std::int64_t pixels = input.shape.elements() / channels_;
    if (input.layout.order == Layout::Order::blocked)
      rows_ = {pixels, input.layout.block};
    else if (input.layout.order == Layout::Order::channels_last || pixels == 1)
      rows_ = {pixels, channels_};
    else
      rows_ = {pixels, 1};
    blocks_ = input.size() / rows_.places();
    for (Channels* values : {&mean_, &squares_, &scale_, &shift_, &sums_, &products_, &slope_, &curve_, &offset_})
      values->assign(static_cast<std::size_t>(blocks_ * rows_.lanes), 0.0f);
  }
  const TensorDesc& output() const override { return config_.input; }
  std::vector<std::string> implementations() const override { return {}; }

 protected:
  Scaling scaling(std::int64_t lane) const { return {scale_.data() + lane, shift_.data() + lane, config_.relu}; }
  float inverse_deviation(float variance) const {
    return 1.0f / std::sqrt(variance + static_cast<float>(config_.spec.epsilon));
  }
  static float weight_of(const NormParameters& p, std::size_t c) { return p.weight == nullptr ? 1.0f : p.weight[c]; }
  void set_scaling(const NormParameters& p, std::size_t c, float mean, float inverse) {
    scale_[c] = weight_of(p, c) * inverse;
    shift_[c] = (p.bias == nullptr ? 0.0f : p.bias[c]) - mean * scale_[c];
  }

  NormConfig config_;
  std::int64_t channels_, blocks_ = 1;
  Rows rows_;  // of a block of a sample
  Channels mean_, squares_, scale_, shift_, sums_, products_, slope_, curve_, offset_;
};

template <class Element>
class BatchNorm final : public Norm {
 public:
  explicit BatchNorm(const NormConfig& config) : Norm(config) {
    for (Channels* values : {&inverse_, &part_mean_, &part_squares_}) values->assign(mean_.size(), 0.0f);
  }

  void prepare(std::int64_t batch) override {
    // Features of all samples are rows of one block; images have their samples' blocks one after another.
    if (rows_.rows == 1 && blocks_ == 1)
      sizes_.push_back({batch, 1, {batch, rows_.lanes}});
    else
      sizes_.push_back({batch, batch, rows_});
  }

  void forward(Slot slot, const void* x, const NormParameters& parameters, void* y) override {
    const Size& size = size_of(slot);
    normalise(size, x, parameters, find_moments(size, x), y);
    count_ = static_cast<float>(size.parts * size.rows.rows);
  }
  void measure(Slot slot, const void* x, float* moments) override {
    moments[0] = find_moments(size_of(slot), x);
    std::copy_n(mean_.data(), channels_, moments + 1);
    std::copy_n(squares_.data(), channels_, moments + 1 + channels_);
  }
  void forward_with(Slot slot, const void* x, const NormParameters& parameters, const float* moments,
                    void* y) override {
    std::copy_n(moments + 1, channels_, mean_.data());
    std::copy_n(moments + 1 + channels_, channels_, squares_.data());
    count_ = moments[0];
    normalise(size_of(slot), x, parameters, count_, y);
  }

  void infer(Slot slot, const void* x, const NormParameters& parameters, void* y) override {
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c)
      set_scaling(parameters, c, parameters.mean[c], inverse_deviation(parameters.variance[c]));
    apply(size_of(slot), x, y);
  }

  void backward(Slot slot, const void* x, const NormParameters& parameters, const void* dy, void* dx,
                const NormGradients& gradients) override {
    find_sums(size_of(slot), x, dy);
    write(gradients);
    differentiate(size_of(slot), x, parameters, dy, dx);
  }
  void measure_gradient(Slot slot, const void* x, const void* dy, float* sums) override {
    find_sums(size_of(slot), x, dy);
    std::copy_n(sums_.data(), channels_, sums);
    std::copy_n(products_.data(), channels_, sums + channels_);
  }
  void backward_with(Slot slot, const void* x, const NormParameters& parameters, const NormSums& sums, const void* dy,
                     void* dx, const NormGradients& gradients) override {
    take(sums.own);
    write(gradients);
    take(sums.all);
    differentiate(size_of(slot), x, parameters, dy, dx);
  }

  void statistics(Slot slot, float* mean, float* variance) override {
    const float samples = static_cast<float>(size_of(slot).samples);
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c) {
      mean[c] = samples * mean_[c];
      variance[c] = samples * (squares_[c] / (count_ - 1));
    }
  }

 private:
  /// A batch as `parts` one after another, each of blocks_ blocks of rows.
  struct Size {
    std::int64_t samples, parts;
    Rows rows;
  };
  const Size& size_of(Slot slot) const { return sizes_[static_cast<std::size_t>(slot)]; }

  /// mean_ and squares_ of a batch; how many values a channel has.
  float find_moments(const Size& size, const void* x) {
    float count = 0;
    for (std::int64_t part = 0; part < size.parts; ++part) {
      for (std::int64_t block = 0; block < blocks_; ++block) {
        const std::int64_t lane = block * size.rows.lanes;
        moments(size.rows, at(x, size, part, block), part_mean_.data() + lane, part_squares_.data() + lane);
      }
      count = add_part(count, static_cast<float>(size.rows.rows));
    }
    return count;
  }

  void normalise(const Size& size, const void* x, const NormParameters& parameters, float count, void* y) {
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c) {
      inverse_[c] = inverse_deviation(squares_[c] / count);
      set_scaling(parameters, c, mean_[c], inverse_[c]);
    }
    apply(size, x, y);
  }

  /// sums_ and products_ of a batch.
  void find_sums(const Size& size, const void* x, const void* dy) {
    std::fill(sums_.begin(), sums_.end(), 0.0f);
    std::fill(products_.begin(), products_.end(), 0.0f);
    for_blocks(size, [&](std::int64_t part, std::int64_t block, std::int64_t lane) {
      // The parts' sums lie where forward had the parts' moments.
      sum_gradients(size.rows, at(x, size, part, block), at(dy, size, part, block), scaling(lane), mean_.data() + lane,
                    part_mean_.data() + lane, part_squares_.data() + lane);
      for (auto c = static_cast<std::size_t>(lane); c < static_cast<std::size_t>(lane + size.rows.lanes); ++c) {
        sums_[c] += part_mean_[c];
        products_[c] += part_squares_[c];
      }
    });
  }
  void take(const float* sums) {
    std::copy_n(sums, channels_, sums_.data());
    std::copy_n(sums + channels_, channels_, products_.data());
  }

  /// What sums_ and products_ are to the parameters.
  void write(const NormGradients& gradients) const {
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c) {
      if (gradients.weight != nullptr) gradients.weight[c] = products_[c] * inverse_[c];
      if (gradients.bias != nullptr) gradients.bias[c] = sums_[c];
    }
  }

  void differentiate(const Size& size, const void* x, const NormParameters& parameters, const void* dy, void* dx) {
    if (dx == nullptr) return;
    for (std::size_t c = 0; c < static_cast<std::size_t>(channels_); ++c) {
      slope_[c] = weight_of(parameters, c) * inverse_[c];
      curve_[c] = -slope_[c] * inverse_[c] * inverse_[c] * products_[c] / count_;
      offset_[c] = -slope_[c] * sums_[c] / count_;
    }
    for_blocks(size, [&](std::int64_t part, std::int64_t block, std::int64_t lane) {
      gradient_rows(size.rows, at(x, size, part, block), at(dy, size, part, block), scaling(lane), mean_.data() + lane,
                    {slope_.data() + lane, curve_.data() + lane, offset_.data() + lane}, at(dx, size, part, block));
    });
  }

  Element* at(void* tensor, const Size& size, std::int64_t part, std::int64_t block) const {
    return static_cast<Element*>(tensor) + (part * blocks_ + block) * size.rows.places();
  }
  const Element* at(const void* tensor, const Size& size, std::int64_t part, std::int64_t block) const {
    return at(const_cast<void*>(tensor), size, part, block);
  }
  template <class Visit>
  void for_blocks(const Size& size, const Visit& visit) const {
    for (std::int64_t part = 0; part < size.parts; ++part) {
      for (std::int64_t block = 0; block < blocks_; ++block) visit(part, block, block * size.rows.lanes);
    }
  }
  void apply(const Size& size, const void* x, void* y) const {
    for_blocks(size, [&](std::int64_t part, std::int64_t block, std::int64_t lane) {
      scale_rows(size.rows, at(x, size, part, block), scaling(lane), at(y, size, part, block));
    });
  }

  /// Adds a part's moments to those of `before` rows (Chan, Golub and LeVeque 1979); how many it is then.
  float add_part(float before, float rows) {
    const float count = before + rows, share = rows / count;
    for (std::size_t c = 0; c < mean_.size(); ++c) {
      if (before == 0) mean_[c] = squares_[c] = 0;
      const float apart = part_mean_[c] - mean_[c];
      mean_[c] += apart * share;
      squares_[c] += part_squares_[c] + apart * apart * (before * share);
    }
    return count;
  }

  std::vector<Size> sizes_;  // by slot
  float count_ = 0;          // values a channel, of the latest forward()
  Channels inverse_, part_mean_, part_squares_;
};

/// Per sample, over groups of channels that lie one after another; a layer norm is one group of all features.
template <class Element>
class GroupNorm final : public Norm {
 public:
  explicit GroupNorm(const NormConfig& config)
      : Norm(config), groups_(config.spec.kind == NormKind::group ? config.spec.groups : 1) {}

  void prepare(std::int64_t batch) override {
    batches_.push_back(batch);
    const auto needed = static_cast<std::size_t>(batch * groups_);
    if (group_mean_.size() < needed) group_mean_.resize(needed), group_inverse_.resize(needed);
  }

  void forward(Slot slot, const void* x, const NormParameters& parameters, void* y) override {
    const std::int64_t size = config_.input.size(), width = channels_ / groups_;
    const auto rows = static_cast<float>(rows_.rows);
    for (std::int64_t sample = 0; sample < batches_[static_cast<std::size_t>(slot)]; ++sample) {
      for_blocks(sample * size, [&](std::int64_t place, std::int64_t lane) {
        moments(rows_, at(x, place), mean_.data() + lane, squares_.data() + lane);
      });
      for (std::int64_t g = 0; g < groups_; ++g) {
        const float *means = mean_.data() + g * width, *squares = squares_.data() + g * width;
        const float mean = sum_of(width, [&](std::int64_t c) { return means[c]; }) / static_cast<float>(width);
        const float square =
            sum_of(width, [&](std::int64_t c) { return squares[c] + rows * ((means[c] - mean) * (means[c] - mean)); });
        const auto group = static_cast<std::size_t>(sample * groups_ + g);
        group_mean_[group] = mean;
        group_inverse_[group] = inverse_deviation(square / (rows * static_cast<float>(width)));
      }
      set_sample(sample, parameters);
      for_blocks(sample * size, [&](std::int64_t place, std::int64_t lane) {
        scale_rows(rows_, at(x, place), scaling(lane), at(y, place));
      });
    }
  }

  void infer(Slot, const void*, const NormParameters&, void*) override {
    broken_invariant(__FILE__, __LINE__, "only batch norms have running statistics");
  }
  void statistics(Slot, float*, float*) override {
    broken_invariant(__FILE__, __LINE__, "only batch norms have running statistics");
  }

  void backward(Slot slot, const void* x, const NormParameters& parameters, const void* dy, void* dx,
                const NormGradients& gradients) override {
    const std::int64_t size = config_.input.size(), width = channels_ / groups_;
    const float count = static_cast<float>(rows_.rows) * static_cast<float>(width);
    if (gradients.weight != nullptr) std::fill_n(gradients.weight, channels_, 0.0f);
    if (gradients.bias != nullptr) std::fill_n(gradients.bias, channels_, 0.0f);
    for (std::int64_t sample = 0; sample < batches_[static_cast<std::size_t>(slot)]; ++sample) {
      set_sample(sample, parameters);
      for_blocks(sample * size, [&](std::int64_t place, std::int64_t lane) {
        sum_gradients(rows_, at(x, place), at(dy, place), scaling(lane), mean_.data() + lane, sums_.data() + lane,
                      products_.data() + lane);
      });
      for (std::int64_t g = 0; g < groups_; ++g) {
        const float inverse = group_inverse_[static_cast<std::size_t>(sample * groups_ + g)];
        const std::int64_t first = g * width;
        const float *sums = sums_.data() + first, *products = products_.data() + first;
        const float* weight = parameters.weight == nullptr ? nullptr : parameters.weight + first;
        const auto weighted = [&](const float* of) {
          if (weight == nullptr) return sum_of(width, [&](std::int64_t c) { return of[c]; });
          return sum_of(width, [&](std::int64_t c) { return weight[c] * of[c]; });
        };
        const float sum = weighted(sums), product = weighted(products);
        for (std::int64_t c = 0; c < width; ++c) {
          if (gradients.weight != nullptr) gradients.weight[first + c] += products[c] * inverse;
          if (gradients.bias != nullptr) gradients.bias[first + c] += sums[c];
          curve_[static_cast<std::size_t>(first + c)] = -inverse * inverse * inverse * product / count;
          offset_[static_cast<std::size_t>(first + c)] = -inverse * sum / count;
        }
      }
      if (dx == nullptr) continue;
      // What a value is multiplied by in forward, its gradient is in backward.
      for_blocks(sample * size, [&](std::int64_t place, std::int64_t lane) {
        gradient_rows(rows_, at(x, place), at(dy, place), scaling(lane), mean_.data() + lane,
                      {scale_.data() + lane, curve_.data() + lane, offset_.data() + lane}, at(dx, place));
      });
    }
  }

 private:
  static Element* at(void* tensor, std::int64_t place) { return static_cast<Element*>(tensor) + place; }
  static const Element* at(const void* tensor, std::int64_t place) {
    return static_cast<const Element*>(tensor) + place;
  }

  /// visit(first place, first lane) for each block of the sample that starts at `first`.
  template <class Visit>
  void for_blocks(std::int64_t first, const Visit& visit) const {
    for (std::int64_t block = 0; block < blocks_; ++block) visit(first + block * rows_.places(), block * rows_.lanes);
  }

  /// mean_, scale_ and shift_ of each channel, from its group's.
  void set_sample(std::int64_t sample, const NormParameters& parameters) {
    const std::int64_t width = channels_ / groups_;
    for (std::int64_t g = 0; g < groups_; ++g) {
      const auto group = static_cast<std::size_t>(sample * groups_ + g);
      for (auto c = static_cast<std::size_t>(g * width); c < static_cast<std::size_t>((g + 1) * width); ++c) {
        mean_[c] = group_mean_[group];
        set_scaling(parameters, c, group_mean_[group], group_inverse_[group]);
      }
    }
  }

  std::int64_t groups_;
  std::vector<std::int64_t> batches_;              // by slot
  std::vector<float> group_mean_, group_inverse_;  // of the latest forward(): (samples, groups)
};

}  // namespace

std::unique_ptr<NormOperation> make_norm(const NormConfig& config) {
  return with_element(config.input.type, [&]<class Element>(Element) -> std::unique_ptr<NormOperation> {
    if (config.spec.kind == NormKind::batch) return std::make_unique<BatchNorm<Element>>(config);
    return std::make_unique<GroupNorm<Element>>(config);
  });
}

}  // namespace dptrain::cpu

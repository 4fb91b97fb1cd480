// One layer on its own: plain tensors and canonical parameters in, the same out, in any layout of its input. What the
// layer writes starts as NaN and ends in front of a guard, so that adding onto old values or writing too far shows.
#pragma once

#include <doctest/doctest.h>

#include <limits>
#include <map>
#include <numeric>

#include "device/buffer.h"
#include "nn/layer.h"
#include "nn/parameters.h"
#include "support/layouts.h"
#include "support/one_thread.h"

namespace dptrain::testing {

class LayerBench {
 public:
  struct Options {
    Layout layout;                      ///< of the input
    std::vector<std::int64_t> batches;  ///< to prepare, first the one that decides layouts
    std::optional<ActivationSpec> fused;
    std::uint64_t seed = 1;
    std::uint32_t index = 0;
    bool training = true;
  };

  LayerBench(const LayerSpec& spec, const Shape& input, const Options& options)
      : options_(options), kernels_(make_cpu_kernels()), input_(input, options.layout) {
    if (input.rank() == 1) input_ = TensorDesc(input);
    layer_ = make_layer(spec, {.kernels = *kernels_,
                               .input = input_,
                               .index = options.index,
                               .full_batch = options.batches.front(),
                               .fused = options.fused,
                               .fused_before = false});
    for (const std::int64_t batch : options.batches) layer_->prepare(batch);
    std::vector<Parameter> parameters;
    for (const ParameterDesc& desc : layer_->parameters()) {
      parameters.push_back({desc.name, desc, options.index, static_cast<std::uint32_t>(parameters.size()), 0});
    }
    table_ = ParameterTable(std::move(parameters));
    values_ = Buffer::host_floats(table_.floats());
    gradients_ = Guarded(table_.floats());
    for (const Parameter& p : table_.all()) {
      views_.values.push_back(values_.floats() + p.offset);
      views_.gradients.push_back(gradients_.floats() + p.offset);
    }
  }

  Layer& layer() { return *layer_; }
  const TensorDesc& input() const { return input_; }
  const ParameterTable& table() const { return table_; }

  void set_parameter(const std::string& name, std::span<const float> canonical) {
    for (const Parameter& p : table_.all()) {
      if (p.name == name) {
        REQUIRE(p.desc.shape.elements() == static_cast<std::int64_t>(canonical.size()));
        table_.set_canonical(p, canonical.data(), values_.floats());
      }
    }
    ++version_;
  }

  /// x and y are plain, (batch, elements).
  std::vector<float> forward(std::span<const float> x) {
    pass_ = Pass{};
    pass_.batch = static_cast<std::int64_t>(x.size()) / input_.shape.elements();
    for (pass_.slot = 0; options_.batches[static_cast<std::size_t>(pass_.slot)] != pass_.batch;) ++pass_.slot;
    pass_.training = options_.training;
    pass_.seed = options_.seed;
    pass_.step = version_;
    pass_.step_on_device = &pass_.step;
    ids_.resize(static_cast<std::size_t>(pass_.batch));
    std::iota(ids_.begin(), ids_.end(), 1000);
    pass_.ids = ids_.data();
    x_ = Guarded(pass_.batch * input_.size());
    to_layout(input_, x, x_.floats());
    if (layer_->passes_through()) {
      y_ = Guarded(pass_.batch * input_.size());
      to_layout(input_, x, y_.floats());
    } else {
      y_ = Guarded(pass_.batch * layer_->output().size());
    }
    layer_->forward(pass_, views_, x_.floats(), y_.floats());
    CHECK(y_.intact());
    CHECK(padding_is_zero(layer_->output(), y_.floats(), pass_.batch));
    return from_layout(layer_->output(), y_.floats(), pass_.batch);
  }

  struct Gradients {
    std::vector<float> dx;
    std::map<std::string, std::vector<float>> parameters;  ///< canonical, by name
  };

  /// Of sum(y dy), after forward().
  Gradients backward(std::span<const float> dy) {
    Guarded dy_stored(pass_.batch * layer_->output().size());
    to_layout(layer_->output(), dy, dy_stored.floats());
    Guarded separate(pass_.batch * input_.size());
    Guarded& dx = layer_->backward_in_place() ? dy_stored : separate;
    layer_->backward(pass_, views_, x_.floats(), y_.floats(), dy_stored.floats(), dx.floats());
    CHECK(dy_stored.intact());
    CHECK(separate.intact());
    CHECK(gradients_.intact());
    CHECK(padding_is_zero(input_, dx.floats(), pass_.batch));
    Gradients all{from_layout(input_, dx.floats(), pass_.batch), {}};
    for (const Parameter& p : table_.all()) {
      all.parameters[p.name] = table_.canonical(p, gradients_.floats());
      // Padding of weights gets no gradient: what pack() makes of the canonical gradient is all there is.
      std::vector<float> packed(static_cast<std::size_t>(p.desc.stored_floats));
      if (p.desc.packer == nullptr) continue;
      p.desc.packer->pack(all.parameters[p.name].data(), packed.data());
      CHECK(std::equal(packed.begin(), packed.end(), gradients_.floats() + p.offset));
    }
    return all;
  }

 private:
  /// Aligned floats, NaN to start with, and some behind that nobody may touch.
  class Guarded {
   public:
    Guarded() = default;
    explicit Guarded(std::int64_t floats) : floats_(floats), buffer_(Buffer::host_floats(floats + kGuard)) {
      std::fill_n(buffer_.floats(), floats, std::numeric_limits<float>::quiet_NaN());
      std::fill_n(buffer_.floats() + floats, kGuard, kSentinel);
    }
    float* floats() const { return buffer_.floats(); }
    bool intact() const {
      return std::all_of(buffer_.floats() + floats_, buffer_.floats() + floats_ + kGuard,
                         [](float f) { return f == kSentinel; });
    }

   private:
    static constexpr std::int64_t kGuard = 64;
    static constexpr float kSentinel = 12345.0f;
    std::int64_t floats_ = 0;
    Buffer buffer_;
  };

  Options options_;
  std::unique_ptr<Kernels> kernels_;
  TensorDesc input_;
  std::unique_ptr<Layer> layer_;
  ParameterTable table_;
  Buffer values_;
  Guarded gradients_, x_, y_;
  ParameterViews views_;
  Pass pass_;
  std::vector<std::int64_t> ids_;
  std::int64_t version_ = 0;
};

}  // namespace dptrain::testing

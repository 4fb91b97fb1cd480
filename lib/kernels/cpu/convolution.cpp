#include <algorithm>

#include "core/error.h"
#include "kernels/cpu/flipped_weights.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/weight_product.h"

namespace dptrain::cpu {

using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using dnnl::memory;

namespace {

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

/// The first implementation that computes what it should. oneDNN 2.6.3's jit_bf16_1x1 takes the channels that it sums
/// over in pairs, and the last of an odd number together with whatever lies behind it.
template <class PrimitiveDesc>
PrimitiveDesc first_right(PrimitiveDesc desc, std::int64_t summed_channels) {
  while (summed_channels % 2 != 0 && std::string_view(desc.impl_info_str()).starts_with("jit_bf16_1x1"))
    DPTRAIN_CHECK(desc.next_impl(), "oneDNN has nothing right for {} channels", summed_channels);
  return desc;
}

/// oneDNN 2.6.3 offers jit_bf16 with an activation behind it for a few shapes for which it then cannot make it.
bool can_be_made(const convolution_forward::primitive_desc& desc) {
  if (!std::string_view(desc.impl_info_str()).starts_with("jit_bf16:")) return true;
  try {
    const dnnl::primitive made(desc.get());
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

/// Layouts are chosen at the full batch size, by choose_layouts(); all primitives and batch sizes are made to take
/// them. Where the primitives take their input otherwise than it comes, forward reads a copy of it that
/// backward_weights finds again; where backward by data wants its weights otherwise, it reads a copy refreshed once a
/// step. In 16 bit weights and their gradient are floats in the layout of the gradient, and both directions read
/// copies, each in the layout that it wants; where there are tiles (AMX), backward goes other ways if those are faster:
/// see weight_product.h and flipped_weights.h.
class Convolution final : public AffineOperation {
 public:
  Convolution(Context& context, const ConvolutionConfig& config)
      : context_(context), config_(config), compute_(config.types.compute) {
    DPTRAIN_CHECK(config.types.output == compute_, "a convolution stores its output as it computes");
    const Conv2dSpec& s = config.spec;
    const Shape& in = config.input.shape;
    const std::int64_t height = (in[1] + 2 * s.padding_height - s.kernel_height) / s.stride_height + 1;
    const std::int64_t width = (in[2] + 2 * s.padding_width - s.kernel_width) / s.stride_width + 1;
    strides_ = {s.stride_height, s.stride_width};
    padding_ = {s.padding_height, s.padding_width};
    weight_dims_ = s.groups == 1
                       ? Dims{s.out_channels, in[0], s.kernel_height, s.kernel_width}
                       : Dims{s.groups, s.out_channels / s.groups, in[0] / s.groups, s.kernel_height, s.kernel_width};
    choose_layouts(Shape{s.out_channels, height, width});
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return static_cast<std::int64_t>(weights_.get_size() / sizeof(float)); }
  std::int64_t copy_bytes() const override {
    return static_cast<std::int64_t>(forward_.copy.size() + backward_.copy.size() + inner_x_.size() +
                                     inner_dx_.size()) +
           (flipped_ ? flipped_->bytes() : 0);
  }
  void pack(const float* canonical, float* stored) const override {
    reorder(canonical_desc(), canonical, weights_, stored);
  }
  void unpack(const float* stored, float* canonical) const override {
    reorder(weights_, stored, canonical_desc(), canonical);
  }

  void prepare(std::int64_t batch) override {
    const memory::desc x = memory_desc(inner_, batch), y = memory_desc(output_, batch), b = bias_desc();
    Prepared p;
    const memory::desc w = forward_.layout;
    const auto plain_forward = forward_desc(x, w, y, /*with_activation=*/false);  // the hint that backward needs
    p.forward = Primitive(context_, forward_desc(x, w, y),
                          {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}});
    if (product_)
      product_->prepare(batch);
    else
      p.backward_weights = Primitive(
          context_, backward_weights_desc(x, weights_, y, plain_forward),
          {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_WEIGHTS, weights_}, {DNNL_ARG_DIFF_BIAS, b}});
    if (config_.input_gradient) prepare_backward_data(p, plain_forward, x, y);
    if (!(inner_ == config_.input)) {
      const memory::desc outer = memory_desc(config_.input, batch);
      p.copy_in = reorder_primitive(context_, outer, x);
      grow(inner_x_, batch);
      if (config_.input_gradient) {
        p.copy_out = reorder_primitive(context_, x, outer);
        grow(inner_dx_, batch);
      }
    }
    prepared_.push_back(std::move(p));
  }

  void set_weights(const float* weight, const float* /*bias*/, std::int64_t version) override {
    forward_.refresh(weight, version);
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (p.copy_in) {
      p.copy_in.run({x, inner_x_.data()});
      x = inner_x_.data();
    }
    p.forward.run({x, forward_.of(weight), bias, y});
  }

  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (p.copy_in) x = inner_x_.data();
    if (product_)
      product_->run(static_cast<std::size_t>(slot), x, dy, weight_gradient, bias_gradient);
    else
      p.backward_weights.run({x, dy, weight_gradient, bias_gradient});
  }

  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t version, void* dx) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (!flipped_) backward_.refresh(weight, version);
    const void* weights = flipped_ ? flipped_->of(weight, version) : backward_.of(weight);
    p.backward_data.run({dy, weights, p.copy_out ? inner_dx_.data() : dx});
    if (p.copy_out) p.copy_out.run({inner_dx_.data(), dx});
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (std::size_t slot = 0; slot < prepared_.size(); ++slot) {
      const Prepared& p = prepared_[slot];
      for (const Primitive* primitive : {&p.copy_in, &p.forward, &p.backward_weights, &p.backward_data, &p.copy_out}) {
        if (*primitive) names.push_back(primitive->implementation());
      }
      if (product_) names.push_back(product_->implementation(slot));
    }
    return names;
  }

 private:
  struct Prepared {
    Primitive forward, backward_weights, backward_data;
    Primitive copy_in, copy_out;  // of the input and its gradient, between their own layout and inner_
  };

  /// The weights as one direction reads them: themselves, or a copy in another layout or type.
  struct Weights {
    memory::desc layout;
    Primitive copy_in;  // none: themselves
    Buffer copy;
    const float* from = nullptr;
    std::int64_t version = 0;

    void prepare(Context& context, const memory::desc& stored) {
      if (layout == stored) return;
      copy_in = reorder_primitive(context, stored, layout);
      copy = Buffer::host(layout.get_size());
    }
    void refresh(const float* weights, std::int64_t current) {
      if (!copy_in || (weights == from && current == version)) return;
      copy_in.run({weights, copy.data()});
      from = weights;
      version = current;
    }
    const void* of(const float* weights) const { return copy_in ? copy.data() : weights; }
  };

  static memory::desc any(const Dims& dims, ElementType type) {
    return {dims, data_type(type), memory::format_tag::any};
  }
  /// None where there is no bias.
  memory::desc bias_desc() const {
    if (!config_.spec.bias) return {};
    return {Dims{config_.spec.out_channels}, memory::data_type::f32, memory::format_tag::x};
  }
  memory::desc canonical_desc() const {
    return {weight_dims_, memory::data_type::f32,
            config_.spec.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw};
  }

  /// What layouts the primitives work in. oneDNN lets forward choose its output, but knows no good backward for some of
  /// its choices, and none of either for some inputs: a small number of channels in the wrong blocks, groups that
  /// blocks cut, plain images where vectors are short. These are tried: the input as it comes and the output of
  /// forward's choice; both in the input's layout; both in another layout, with a copy of the input. Plain is the last,
  /// and always has matrix products. The best rank is taken, and among equals the least padding: the kernels multiply
  /// that too. Blocks of 16 take this much longer than channels_last (20 -> 50 channels, 5x5, batch 256, AVX-512): 1.61
  /// forward, 1.67 weight gradients, 1.12 backward data, 1.43 in all. Padding of the output counts where backward by
  /// data runs; without it, in a first convolution, channels_last makes weight gradients twice as slow. Else the first:
  /// both are equally fast on whole blocks.
  void choose_layouts(const Shape& out) {
    const Layout own = config_.input.layout;
    struct Candidate {
      Layout input;
      std::optional<Layout> output;  // empty: forward's choice
    };
    const Layout plain{}, blocked16{Layout::Order::blocked, 16}, blocked8{Layout::Order::blocked, 8},
        channels_last{Layout::Order::channels_last, 1};
    const Candidate candidates[] = {{own, {}},
                                    {own, own},
                                    {plain, {}},
                                    {blocked16, blocked16},
                                    {blocked8, blocked8},
                                    {channels_last, channels_last},
                                    {plain, plain}};
    const std::int64_t fewest_places = config_.input.shape.elements() + (config_.input_gradient ? out.elements() : 0);
    std::optional<std::pair<Rank, std::int64_t>> best;
    TensorDesc best_inner, best_output;
    memory::desc best_weights, best_forward;
    for (const Candidate& candidate : candidates) {
      if (!set_layouts(candidate.input, candidate.output, out)) continue;
      // A short batch may be as short as one sample.
      const std::int64_t places = inner_.size() + (config_.input_gradient ? output_.size() : 0);
      const std::pair cost(std::max(worst_rank(config_.full_batch), worst_rank(1)), places);
      if (best && cost >= *best) continue;
      best = cost;
      best_inner = inner_, best_output = output_, best_weights = weights_, best_forward = forward_.layout;
      if (cost == std::pair(best_rank(compute_), fewest_places)) break;
    }
    inner_ = best_inner, output_ = best_output, weights_ = best_weights, forward_.layout = best_forward;
    if (WeightProduct::pays(config_.spec, inner_, output_)) {
      product_.emplace(context_, config_.spec, inner_, output_);
      weights_ = WeightProduct::weights(weight_dims_);
    }
    forward_.prepare(context_, weights_);
    if (config_.input_gradient) choose_backward_data();
  }

  /// oneDNN has tiles of its own for backward by data, which take up to 2.4 times as long as those of forward (256 ->
  /// 256 channels, 3x3 pixels: 2.05 ms and 0.86; 128 -> 256, 7x7: 2.2, 1.2; 20 -> 50, kernel 5: 0.65, 0.3; 16 -> 16,
  /// 32x32: equal).
  void choose_backward_data() {
    const Conv2dSpec& s = config_.spec;
    if (compute_ != ElementType::bfloat16 || best_rank(compute_) != Rank::tiles || s.groups != 1 ||
        strides_ != Dims{1, 1} || padding_[0] >= s.kernel_height || padding_[1] >= s.kernel_width)
      return;
    const Dims flipped{weight_dims_[1], weight_dims_[0], weight_dims_[2], weight_dims_[3]};
    const memory::desc layout = flipped_desc(config_.full_batch, any(flipped, compute_)).weights_desc();
    for (const std::int64_t batch : {config_.full_batch, std::int64_t{1}})
      if (rank_of(flipped_desc(batch, layout)) != Rank::tiles) return;
    flipped_.emplace(context_, weight_dims_, weights_, layout);
  }
  convolution_forward::primitive_desc flipped_desc(std::int64_t batch, const memory::desc& weights) const {
    const Dims padding{config_.spec.kernel_height - 1 - padding_[0], config_.spec.kernel_width - 1 - padding_[1]};
    const convolution_forward::desc desc(dnnl::prop_kind::forward_inference, kDirect, memory_desc(output_, batch),
                                         weights, memory_desc(inner_, batch), strides_, padding, padding);
    return first_right(convolution_forward::primitive_desc(desc, default_attributes(), context_.engine()),
                       config_.spec.out_channels);
  }

  /// Sets inner_, output_, weights_ and forward_.layout; false where forward chooses an output that is none of our
  /// layouts.
  bool set_layouts(const Layout& input, std::optional<Layout> output, const Shape& out) {
    inner_ = TensorDesc(config_.input.shape, input, compute_);
    const std::int64_t full = config_.full_batch;
    const memory::desc x = memory_desc(inner_, full);
    if (!output) {
      const memory::desc y = any(Dims{full, out[0], out[1], out[2]}, compute_);
      output = layout_of(forward_desc(x, any(weight_dims_, compute_), y).dst_desc());
      if (!output) return false;
    }
    output_ = TensorDesc(out, *output, compute_);
    const memory::desc y = memory_desc(output_, full);
    const auto forward = forward_desc(x, any(weight_dims_, compute_), y, /*with_activation=*/false);
    forward_.layout = weights_ = forward.weights_desc();
    const auto layout_of_gradient = [&] {
      return backward_weights_desc(x, any(weight_dims_, ElementType::float32), y, forward).diff_weights_desc();
    };
    // With channels last forward would choose weights for which there is only reference code to make their gradient
    // (498 ms against 1.1); in the layout of that gradient forward loses 5-8%.
    if (compute_ != ElementType::float32)
      weights_ = layout_of_gradient();
    else if (inner_.layout.order == Layout::Order::channels_last)
      forward_.layout = weights_ = layout_of_gradient();
    return true;
  }

  Rank worst_rank(std::int64_t batch) const {
    const memory::desc x = memory_desc(inner_, batch), y = memory_desc(output_, batch);
    const auto plain_forward = forward_desc(x, forward_.layout, y, /*with_activation=*/false);
    const auto forward = forward_desc(x, forward_.layout, y);
    if (!can_be_made(forward)) return Rank::reference;
    Rank worst = std::max(rank_of(forward), rank_of(backward_weights_desc(x, weights_, y, plain_forward)));
    if (config_.input_gradient)
      worst = std::max(worst, rank_of(backward_data_desc(x, any(weight_dims_, compute_), y, plain_forward)));
    return worst;
  }

  convolution_backward_weights::primitive_desc backward_weights_desc(
      const memory::desc& x, const memory::desc& weights, const memory::desc& y,
      const convolution_forward::primitive_desc& hint) const {
    const convolution_backward_weights::desc desc(kDirect, x, weights, bias_desc(), y, strides_, padding_, padding_);
    return {desc, default_attributes(), context_.engine(), hint};
  }

  convolution_backward_data::primitive_desc backward_data_desc(const memory::desc& x, const memory::desc& weights,
                                                               const memory::desc& y,
                                                               const convolution_forward::primitive_desc& hint) const {
    const convolution_backward_data::desc desc(kDirect, x, weights, y, strides_, padding_, padding_);
    return first_right(convolution_backward_data::primitive_desc(desc, default_attributes(), context_.engine(), hint),
                       config_.spec.out_channels / config_.spec.groups);
  }

  convolution_forward::primitive_desc forward_desc(const memory::desc& x, const memory::desc& weights,
                                                   const memory::desc& y, bool with_activation = true) const {
    dnnl::primitive_attr attributes = default_attributes();
    if (with_activation && config_.activation) {
      const Eltwise e = eltwise(*config_.activation);
      dnnl::post_ops post;
      post.append_eltwise(1.0f, e.forward, e.alpha, 0.0f);
      attributes.set_post_ops(post);
    }
    const convolution_forward::desc desc(dnnl::prop_kind::forward_training, kDirect, x, weights, bias_desc(), y,
                                         strides_, padding_, padding_);
    return first_right(convolution_forward::primitive_desc(desc, attributes, context_.engine()),
                       config_.input.shape[0] / config_.spec.groups);
  }

  void prepare_backward_data(Prepared& p, const convolution_forward::primitive_desc& plain_forward,
                             const memory::desc& x, const memory::desc& y) {
    if (flipped_) {
      const auto flipped = flipped_desc(x.dims()[0], flipped_->layout());
      p.backward_data =
          Primitive(context_, flipped, {{DNNL_ARG_SRC, y}, {DNNL_ARG_WEIGHTS, flipped_->layout()}, {DNNL_ARG_DST, x}});
      return;
    }
    const bool chosen = !backward_.layout.is_zero();
    const auto backward =
        backward_data_desc(x, chosen ? backward_.layout : any(weight_dims_, compute_), y, plain_forward);
    if (!chosen) {
      backward_.layout = backward.weights_desc();
      backward_.prepare(context_, weights_);
    }
    p.backward_data = Primitive(context_, backward,
                                {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_WEIGHTS, backward_.layout}, {DNNL_ARG_DIFF_SRC, x}});
  }

  void grow(Buffer& buffer, std::int64_t batch) const {
    const auto needed = static_cast<std::size_t>(batch * inner_.bytes());
    if (buffer.size() < needed) buffer = Buffer::host(needed);
  }

  void reorder(const memory::desc& from, const float* source, const memory::desc& to, float* target) const {
    memory a(from, context_.engine(), const_cast<float*>(source)), b(to, context_.engine(), target);
    dnnl::stream stream(context_.engine());  // its own: packing may happen on another thread than the replica's
    dnnl::reorder(a, b).execute(stream, a, b);
  }

  Context& context_;
  ConvolutionConfig config_;
  ElementType compute_;
  Dims strides_, padding_, weight_dims_;
  memory::desc weights_;       // in the flat buffer, and their gradient
  TensorDesc inner_, output_;  // inner_: the input as the primitives take it
  std::vector<Prepared> prepared_;
  Weights forward_, backward_;
  std::optional<WeightProduct> product_;   // what makes the gradient of the weights, and
  std::optional<FlippedWeights> flipped_;  // what makes that of the input reads, where oneDNN's own ways are slower
  Buffer inner_x_, inner_dx_;
};

}  // namespace

std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config) {
  return std::make_unique<Convolution>(context, config);
}

}  // namespace dptrain::cpu

#include "core/error.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;
using dnnl::memory;

namespace {

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

/// The forward primitive at the full batch size chooses the layouts of weights and output; all other primitives and batch
/// sizes are made to take them. Where backward by data wants its weights otherwise, it reads a copy refreshed once a step.
class Convolution final : public AffineOperation {
 public:
  Convolution(Context& context, const ConvolutionConfig& config) : context_(context), config_(config) {
    const Conv2dSpec& s = config.spec;
    const Shape& in = config.input.shape;
    const std::int64_t height = (in[1] + 2 * s.padding_height - s.kernel_height) / s.stride_height + 1;
    const std::int64_t width = (in[2] + 2 * s.padding_width - s.kernel_width) / s.stride_width + 1;
    strides_ = {s.stride_height, s.stride_width};
    padding_ = {s.padding_height, s.padding_width};
    weight_dims_ = s.groups == 1 ? Dims{s.out_channels, in[0], s.kernel_height, s.kernel_width}
                                 : Dims{s.groups, s.out_channels / s.groups, in[0] / s.groups, s.kernel_height, s.kernel_width};
    const Shape out{s.out_channels, height, width};
    const auto chosen = forward_desc(config.full_batch, any(weight_dims_), any(Dims{config.full_batch, out[0], out[1], out[2]}));
    std::optional<Layout> layout = layout_of(chosen.dst_desc());
    weights_ = chosen.weights_desc();
    output_ = TensorDesc(out, layout.value_or(Layout{}));
    if (!layout) weights_ = forward_desc(config.full_batch, any(weight_dims_), memory_desc(output_, config.full_batch)).weights_desc();
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return static_cast<std::int64_t>(weights_.get_size() / sizeof(float)); }
  void pack(const float* canonical, float* stored) const override { reorder(canonical_desc(), canonical, weights_, stored); }
  void unpack(const float* stored, float* canonical) const override { reorder(weights_, stored, canonical_desc(), canonical); }

  void prepare(std::int64_t batch) override {
    const memory::desc x = memory_desc(config_.input, batch), y = memory_desc(output_, batch), b = bias_desc();
    Prepared p;
    const auto forward = forward_desc(batch, weights_, y);
    const auto plain_forward = forward_desc(batch, weights_, y, /*with_activation=*/false);  // the hint that backward needs
    if (config_.spec.bias) {
      p.forward = Primitive(context_, forward,
                            {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights_}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}});
      const convolution_backward_weights::primitive_desc backward(
          convolution_backward_weights::desc(kDirect, x, weights_, b, y, strides_, padding_, padding_), default_attributes(),
          context_.engine(), plain_forward);
      p.backward_weights = Primitive(
          context_, backward,
          {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_WEIGHTS, weights_}, {DNNL_ARG_DIFF_BIAS, b}});
    } else {
      p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights_}, {DNNL_ARG_DST, y}});
      const convolution_backward_weights::primitive_desc backward(
          convolution_backward_weights::desc(kDirect, x, weights_, y, strides_, padding_, padding_), default_attributes(),
          context_.engine(), plain_forward);
      p.backward_weights =
          Primitive(context_, backward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_DIFF_WEIGHTS, weights_}});
    }
    const memory::desc wanted = backward_weights_layout_ ? *backward_weights_layout_ : any(weight_dims_);
    const convolution_backward_data::primitive_desc backward(
        convolution_backward_data::desc(kDirect, x, wanted, y, strides_, padding_, padding_), default_attributes(),
        context_.engine(), plain_forward);
    if (!backward_weights_layout_) choose_backward_layout(backward.weights_desc());
    p.backward_data = Primitive(context_, backward,
                                {{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_WEIGHTS, backward.weights_desc()}, {DNNL_ARG_DIFF_SRC, x}});
    prepared_.push_back(std::move(p));
  }

  void forward(Slot slot, const float* x, const float* weight, const float* bias, float* y) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (config_.spec.bias) p.forward.run({x, weight, bias, y});
    else p.forward.run({x, weight, y});
  }

  void backward_weights(Slot slot, const float* x, const float* dy, float* weight_gradient, float* bias_gradient) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (config_.spec.bias) p.backward_weights.run({x, dy, weight_gradient, bias_gradient});
    else p.backward_weights.run({x, dy, weight_gradient});
  }

  void backward_data(Slot slot, const float* dy, const float* weight, std::int64_t version, float* dx) override {
    if (refresh_) {
      if (version != copied_version_) refresh_.run({weight, copy_.data()});
      copied_version_ = version;
      weight = copy_.floats();
    }
    prepared_[static_cast<std::size_t>(slot)].backward_data.run({dy, weight, dx});
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      for (const Primitive* primitive : {&p.forward, &p.backward_weights, &p.backward_data}) {
        names.push_back(primitive->implementation());
      }
    }
    return names;
  }

 private:
  struct Prepared {
    Primitive forward, backward_weights, backward_data;
  };

  static memory::desc any(const Dims& dims) { return {dims, memory::data_type::f32, memory::format_tag::any}; }
  memory::desc bias_desc() const { return {Dims{config_.spec.out_channels}, memory::data_type::f32, memory::format_tag::x}; }
  memory::desc canonical_desc() const {
    return {weight_dims_, memory::data_type::f32,
            config_.spec.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw};
  }

  convolution_forward::primitive_desc forward_desc(std::int64_t batch, const memory::desc& weights, const memory::desc& y,
                                                   bool with_activation = true) const {
    dnnl::primitive_attr attributes = default_attributes();
    if (with_activation && config_.activation) {
      const Eltwise e = eltwise(*config_.activation);
      dnnl::post_ops post;
      post.append_eltwise(1.0f, e.forward, e.alpha, 0.0f);
      attributes.set_post_ops(post);
    }
    const memory::desc x = memory_desc(config_.input, batch);
    const auto training = dnnl::prop_kind::forward_training;
    if (!config_.spec.bias) {
      return {convolution_forward::desc(training, kDirect, x, weights, y, strides_, padding_, padding_), attributes,
              context_.engine()};
    }
    return {convolution_forward::desc(training, kDirect, x, weights, bias_desc(), y, strides_, padding_, padding_), attributes,
            context_.engine()};
  }

  void choose_backward_layout(const memory::desc& layout) {
    backward_weights_layout_ = layout;
    if (layout == weights_) return;
    refresh_ = Primitive(context_,
                         dnnl::reorder::primitive_desc(context_.engine(), weights_, context_.engine(), layout, default_attributes()),
                         {{DNNL_ARG_FROM, weights_}, {DNNL_ARG_TO, layout}});
    copy_ = Buffer::host(layout.get_size());
  }

  void reorder(const memory::desc& from, const float* source, const memory::desc& to, float* target) const {
    memory a(from, context_.engine(), const_cast<float*>(source)), b(to, context_.engine(), target);
    dnnl::reorder(a, b).execute(context_.stream(), a, b);
  }

  Context& context_;
  ConvolutionConfig config_;
  Dims strides_, padding_, weight_dims_;
  memory::desc weights_;
  TensorDesc output_;
  std::vector<Prepared> prepared_;
  std::optional<memory::desc> backward_weights_layout_;
  Primitive refresh_;
  Buffer copy_;
  std::int64_t copied_version_ = -1;
};

}  // namespace

std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config) {
  return std::make_unique<Convolution>(context, config);
}

}  // namespace dptrain::cpu

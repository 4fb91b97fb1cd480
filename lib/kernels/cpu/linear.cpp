#include <algorithm>

#include "kernels/cpu/elements.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

using dnnl::matmul;
using dnnl::memory;

namespace {

memory::desc matrix(ElementType type, std::int64_t rows, std::int64_t columns, bool transposed = false) {
  return {Dims{rows, columns}, data_type(type), transposed ? memory::format_tag::ba : memory::format_tag::ab};
}

/// Weights are stored as (places of the input, out), so that all three products are plain or transposed views. An image
/// in a blocked layout is taken as it lies: its places, padding included, are the rows, and pack() sorts the weights to
/// match. In 16 bit the products read a copy of the weights, and of x and dy where these are floats, and write sums in
/// fp32.
class Linear final : public AffineOperation {
 public:
  Linear(Context& context, const LinearConfig& config)
      : context_(context),
        config_(config),
        in_(config.input.size()),
        out_(config.out_features),
        compute_(config.types.compute),
        output_(TensorDesc(Shape{config.out_features}).as(config.types.output)),
        place_of_element_(static_cast<std::size_t>(config.input.shape.elements())) {
    const std::vector<std::int32_t> elements = config.input.logical_elements();
    for (std::size_t place = 0; place < elements.size(); ++place) {
      if (elements[place] >= 0)
        place_of_element_[static_cast<std::size_t>(elements[place])] = static_cast<std::int64_t>(place);
    }
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return in_ * out_; }

  std::int64_t copy_bytes() const override {
    return static_cast<std::int64_t>(x_copy_.size() + dy_copy_.size() + weight_copy_.size());
  }

  void pack(const float* canonical, float* stored) const override {
    std::fill_n(stored, in_ * out_, 0.0f);  // padding has no element
    for_each_tile([&](const Tile& t) {
      for (std::int64_t e = t.element; e < t.element_end; ++e) {
        float* line = stored + place_of_element_[static_cast<std::size_t>(e)] * out_;
        for (std::int64_t n = t.out; n < t.out_end; ++n) line[n] = canonical[n * t.features + e];
      }
    });
  }
  void unpack(const float* stored, float* canonical) const override {
    for_each_tile([&](const Tile& t) {
      float turned[kTile][kTile];  // whole cache lines are read and written
      for (std::int64_t e = t.element; e < t.element_end; ++e) {
        const float* line = stored + place_of_element_[static_cast<std::size_t>(e)] * out_;
        for (std::int64_t n = t.out; n < t.out_end; ++n) turned[n - t.out][e - t.element] = line[n];
      }
      for (std::int64_t n = t.out; n < t.out_end; ++n)
        std::copy_n(turned[n - t.out], t.element_end - t.element, canonical + n * t.features + t.element);
    });
  }

  void prepare(std::int64_t batch) override {
    const memory::desc x = matrix(compute_, batch, in_), dy = matrix(compute_, batch, out_);
    const memory::desc gradient = matrix(ElementType::float32, in_, out_);
    Prepared p;
    p.batch = batch;
    p.forward = forward_primitive(batch, x);
    const memory::desc x_transposed = matrix(compute_, in_, batch, true);
    p.backward_weights = Primitive(
        context_,
        matmul::primitive_desc(matmul::desc(x_transposed, dy, gradient), default_attributes(), context_.engine()),
        {{DNNL_ARG_SRC, x_transposed}, {DNNL_ARG_WEIGHTS, dy}, {DNNL_ARG_DST, gradient}});
    if (config_.input_gradient) {
      const memory::desc w = matrix(compute_, out_, in_, true), dx = matrix(config_.input.type, batch, in_);
      p.backward_data =
          Primitive(context_, matmul::primitive_desc(matmul::desc(dy, w, dx), default_attributes(), context_.engine()),
                    {{DNNL_ARG_SRC, dy}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, dx}});
    }
    grow(x_copy_, config_.input.type, batch * in_);
    grow(dy_copy_, output_.type, batch * out_);
    if (weight_copy_.size() == 0) grow(weight_copy_, ElementType::float32, in_ * out_);
    prepared_.push_back(std::move(p));
  }

  void set_weights(const float* weight, const float* /*bias*/, std::int64_t version) override {
    if (compute_ == ElementType::float32 || (weight == copied_from_ && version == copied_version_)) return;
    convert(weight, in_ * out_, weight_copy_);
    copied_from_ = weight;
    copied_version_ = version;
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (config_.input.type != compute_) convert(x, p.batch * in_, x_copy_);
    p.forward.run({x_of(x), weights_of(weight), bias, y});
  }

  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared_[static_cast<std::size_t>(slot)];
    if (output_.type != compute_) convert(dy, p.batch * out_, dy_copy_);
    p.backward_weights.run({x_of(x), dy_of(dy), weight_gradient});
    if (!config_.bias) return;
    with_element(output_.type, [&]<class Element>(Element) {
      const auto* row = static_cast<const Element*>(dy);
      for (std::int64_t n = 0; n < out_; ++n) bias_gradient[n] = static_cast<float>(row[n]);
      for (std::int64_t s = 1; s < p.batch; ++s) {
        row += out_;
        for (std::int64_t n = 0; n < out_; ++n) bias_gradient[n] += static_cast<float>(row[n]);
      }
    });
  }

  /// dy is that of the latest backward_weights().
  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t /*version*/, void* dx) override {
    prepared_[static_cast<std::size_t>(slot)].backward_data.run({dy_of(dy), weights_of(weight), dx});
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      for (const Primitive* primitive : {&p.forward, &p.backward_weights, &p.backward_data}) {
        if (*primitive) names.push_back(primitive->implementation());
      }
    }
    return names;
  }

 private:
  static constexpr std::int64_t kTile = 16;  // floats of a cache line

  struct Tile {
    std::int64_t element, element_end, out, out_end, features;
  };
  /// Every weight once, in tiles that stay in the cache on both sides: checkpoints are packed beside the training.
  template <class Visit>
  void for_each_tile(Visit visit) const {
    const std::int64_t features = config_.input.shape.elements();
    for (std::int64_t e = 0; e < features; e += kTile) {
      for (std::int64_t n = 0; n < out_; n += kTile)
        visit(Tile{e, std::min(e + kTile, features), n, std::min(n + kTile, out_), features});
    }
  }

  struct Prepared {
    std::int64_t batch = 0;
    Primitive forward, backward_weights, backward_data;
  };

  /// oneDNN's matmul copies the weights into blocks in each call, its inner product does not. So few samples by many
  /// weights go to the latter: with AVX-512 1.47 times as fast at 8 samples by 784 x 512, 1.23 at 32, 1.04 at 128, 0.99
  /// at 256 and at most 0.8 for the heads (N = 10) and everything else whose copy is small. With AVX2 both are the same
  /// kernel.
  Primitive forward_primitive(std::int64_t batch, const memory::desc& x) {
    constexpr std::int64_t kFewSamples = 128, kManyWeights = 200'000;
    dnnl::primitive_attr attributes = default_attributes();
    if (config_.activation) {
      const Eltwise e = eltwise(*config_.activation);
      dnnl::post_ops post;
      post.append_eltwise(1.0f, e.forward, e.alpha, 0.0f);
      attributes.set_post_ops(post);
    }
    const memory::desc none, y = matrix(output_.type, batch, out_);
    if (compute_ == ElementType::float32 && batch <= kFewSamples && in_ * out_ >= kManyWeights) {
      using dnnl::inner_product_forward;
      const memory::desc b =
          config_.bias ? memory::desc{Dims{out_}, memory::data_type::f32, memory::format_tag::x} : none;
      const memory::desc w = matrix(compute_, out_, in_, true);
      const inner_product_forward::desc desc(dnnl::prop_kind::forward_training, x, w, b, y);
      return {context_,
              inner_product_forward::primitive_desc(desc, attributes, context_.engine()),
              {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}};
    }
    const memory::desc w = matrix(compute_, in_, out_);
    const memory::desc b = config_.bias ? matrix(ElementType::float32, 1, out_) : none;
    return {context_,
            matmul::primitive_desc(matmul::desc(x, w, b, y), attributes, context_.engine()),
            {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_BIAS, b}, {DNNL_ARG_DST, y}}};
  }

  /// Memory for a copy of what is stored as `type`, where that is not what products take.
  void grow(Buffer& copy, ElementType type, std::int64_t count) const {
    const auto needed = static_cast<std::size_t>(count * bytes_of(compute_));
    if (type != compute_ && copy.size() < needed) copy = Buffer::host(needed);
  }
  static void convert(const void* floats, std::int64_t count, const Buffer& copy) {
    const auto* from = static_cast<const float*>(floats);
    auto* to = static_cast<BFloat16*>(copy.data());
    for (std::int64_t i = 0; i < count; ++i) to[i] = BFloat16(from[i]);
  }
  const void* x_of(const void* x) const { return config_.input.type == compute_ ? x : x_copy_.data(); }
  const void* dy_of(const void* dy) const { return output_.type == compute_ ? dy : dy_copy_.data(); }
  const void* weights_of(const float* weight) const {
    return compute_ == ElementType::float32 ? weight : weight_copy_.data();
  }

  Context& context_;
  LinearConfig config_;
  std::int64_t in_, out_;
  ElementType compute_;
  TensorDesc output_;
  std::vector<std::int64_t> place_of_element_;
  std::vector<Prepared> prepared_;
  Buffer x_copy_, dy_copy_, weight_copy_;
  const float* copied_from_ = nullptr;
  std::int64_t copied_version_ = 0;
};

}  // namespace

std::unique_ptr<AffineOperation> make_linear(Context& context, const LinearConfig& config) {
  return std::make_unique<Linear>(context, config);
}

}  // namespace dptrain::cpu

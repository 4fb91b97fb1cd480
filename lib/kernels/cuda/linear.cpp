#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/parameter_copies.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/row_sums.h"

namespace dptrain::cuda {

namespace {

/// Weights are stored as (out, places of the input), row-major, so that the canonical form is only sorted where the
/// input is an image whose channels come last: its places are the columns, as they lie in memory. In 16 bit the
/// products read copies of weights and bias, and of x and dy where these are floats; the gradients of the weights are
/// stored as the sums in fp32 that they are.
class Linear final : public AffineOperation {
 public:
  Linear(Context& context, const LinearConfig& config)
      : context_(context),
        config_(config),
        in_(config.input.size()),
        out_(config.out_features),
        compute_(config.types.compute),
        output_(TensorDesc(Shape{config.out_features}).as(config.types.output)),
        element_of_place_(config.input.logical_elements()),
        copies_(context, {in_ * out_, config.bias ? out_ : 0}, compute_, config.types.output) {
    DPTRAIN_CHECK(!config.input.padded(), "nothing is padded on a GPU");
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return in_ * out_; }
  std::int64_t copy_bytes() const override {
    return copies_.bytes() + static_cast<std::int64_t>(x_copy_.size() + dy_copy_.size());
  }

  void pack(const float* canonical, float* stored) const override {
    for (std::int64_t n = 0; n < out_; ++n) {
      for (std::int64_t place = 0; place < in_; ++place) stored[n * in_ + place] = canonical[n * in_ + element(place)];
    }
  }
  void unpack(const float* stored, float* canonical) const override {
    for (std::int64_t n = 0; n < out_; ++n) {
      for (std::int64_t place = 0; place < in_; ++place) canonical[n * in_ + element(place)] = stored[n * in_ + place];
    }
  }

  /// In cuBLASLt's terms, where all is column-major, x is (in, batch), y is (out, batch) and the weights are (in, out):
  /// the bias has an element a row of y, as its epilogues want it.
  void prepare(std::int64_t batch) override {
    Prepared p;
    p.batch = batch;
    prepare_forward(p);
    p.backward_weights = required({in_, out_, batch, false, true}, ElementType::float32);
    if (config_.input_gradient) p.backward_data = required({in_, batch, out_, false, false}, config_.input.type);
    if (config_.input.type != compute_) grow(x_copy_, batch * in_ * bytes_of(compute_));
    if (output_.type != compute_) grow(dy_copy_, batch * out_ * bytes_of(compute_));
    if (config_.bias) grow(row_sums_, sum_rows_scratch_bytes(output_.type, batch, out_));
    prepared_.push_back(std::move(p));
  }

  void set_weights(const float* weight, const float* bias, std::int64_t version) override {
    copies_.refresh(weight, bias, version);
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared(slot);
    const void* in = as_computed(x, config_.input.type, p.batch * in_, x_copy_);
    p.forward->run(copies_.weight(weight), in, copies_.bias(bias), y);
    add_bias_and_activate(context_, config_.bias && !p.adds_bias ? bias : nullptr,
                          config_.activation && !p.activates ? &*config_.activation : nullptr, p.batch, out_,
                          output_.type, y);
  }

  /// x is that of the latest forward().
  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared(slot);
    const void* in = config_.input.type == compute_ ? x : x_copy_.data();
    const void* difference = as_computed(dy, output_.type, p.batch * out_, dy_copy_);
    p.backward_weights->run(in, difference, nullptr, weight_gradient);
    if (config_.bias) sum_rows(context_, output_.type, dy, p.batch, out_, row_sums_.data(), bias_gradient);
  }

  /// dy is that of the latest backward_weights().
  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t /*version*/, void* dx) override {
    const void* difference = output_.type == compute_ ? dy : dy_copy_.data();
    prepared(slot).backward_data->run(copies_.weight(weight), difference, nullptr, dx);
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      for (const auto* product : {&p.forward, &p.backward_weights, &p.backward_data}) {
        if (*product) names.push_back((*product)->implementation());
      }
    }
    return names;
  }

 private:
  struct Prepared {
    std::int64_t batch = 0;
    bool adds_bias = false, activates = false;  // what the product of forward does by itself
    std::optional<Product> forward, backward_weights, backward_data;
  };

  Prepared& prepared(Slot slot) { return prepared_[static_cast<std::size_t>(slot)]; }
  std::int64_t element(std::int64_t place) const { return element_of_place_[static_cast<std::size_t>(place)]; }

  /// With the bias and a ReLU in its epilogue, where cuBLASLt has one: its GELU is the tanh approximation, ours is not.
  void prepare_forward(Prepared& p) {
    const ProductShape shape{out_, p.batch, in_, true, false};
    const bool relu = config_.activation && config_.activation->kind == ActivationKind::relu;
    const auto epilogue = config_.bias ? (relu ? Product::Epilogue::bias_relu : Product::Epilogue::bias)
                                       : (relu ? Product::Epilogue::relu : Product::Epilogue::none);
    p.forward = Product::prepare(context_, shape, epilogue, {compute_, output_.type});
    if (p.forward) {
      p.adds_bias = config_.bias;
      p.activates = relu;
    } else {
      p.forward = required(shape, output_.type);
    }
  }

  Product required(const ProductShape& shape, ElementType output) {
    std::optional<Product> product = Product::prepare(context_, shape, Product::Epilogue::none, {compute_, output});
    if (!product) {
      fail(ExitStatus::failed, "cuBLASLt knows no algorithm for a product of {} x {} by {} x {}", shape.rows,
           shape.depth, shape.depth, shape.columns);
    }
    return std::move(*product);
  }

  /// The tensor as the products read it: itself, or a copy of it that is made now.
  const void* as_computed(const void* tensor, ElementType type, std::int64_t count, const Buffer& copy) const {
    if (type == compute_) return tensor;
    convert(context_, count, type, tensor, compute_, copy.data());
    return copy.data();
  }

  Context& context_;
  LinearConfig config_;
  std::int64_t in_, out_;
  ElementType compute_;
  TensorDesc output_;
  std::vector<std::int32_t> element_of_place_;
  ParameterCopies copies_;
  std::vector<Prepared> prepared_;
  Buffer x_copy_, dy_copy_, row_sums_;
};

}  // namespace

std::unique_ptr<AffineOperation> make_linear(Context& context, const LinearConfig& config) {
  return std::make_unique<Linear>(context, config);
}

}  // namespace dptrain::cuda

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/product.h"

namespace dptrain::cuda {

namespace {

/// Weights are stored as (out, places of the input), row-major, so that the canonical form is only sorted where the input is
/// an image whose channels come last: its places are the columns, as they lie in memory.
class Linear final : public AffineOperation {
 public:
  Linear(Context& context, const LinearConfig& config)
      : context_(context),
        config_(config),
        in_(config.input.size()),
        out_(config.out_features),
        output_(Shape{config.out_features}),
        element_of_place_(config.input.logical_elements()) {
    DPTRAIN_CHECK(!config.input.padded(), "nothing is padded on a GPU");
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return in_ * out_; }

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

  /// In cuBLASLt's terms, where all is column-major, x is (in, batch), y is (out, batch) and the weights are (in, out): the
  /// bias has an element a row of y, as its epilogues want it.
  void prepare(std::int64_t batch) override {
    Prepared p;
    p.batch = batch;
    const ProductShape forward{out_, batch, in_, true, false};
    p.fused = fused_epilogue() != Product::Epilogue::none || (!config_.bias && !config_.activation);
    if (p.fused) p.forward = Product::prepare(context_, forward, fused_epilogue());
    if (!p.forward) {
      p.fused = false;
      p.forward = required(forward);
    }
    p.backward_weights = required({in_, out_, batch, false, true});
    if (config_.input_gradient) p.backward_data = required({in_, batch, out_, false, false});
    if (config_.bias) require_row_sum_scratch(batch);
    prepared_.push_back(std::move(p));
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared(slot);
    p.forward->run(weight, floats(x), bias, floats(y));
    if (!p.fused) {
      add_bias_and_activate(context_, config_.bias ? bias : nullptr,
                            config_.activation ? &*config_.activation : nullptr, p.batch, out_, floats(y));
    }
  }

  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared(slot);
    p.backward_weights->run(floats(x), floats(dy), nullptr, weight_gradient);
    if (config_.bias) sum_rows(context_, floats(dy), p.batch, out_, row_sums_.floats(), bias_gradient);
  }

  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t /*version*/, void* dx) override {
    prepared(slot).backward_data->run(weight, floats(dy), nullptr, floats(dx));
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
    bool fused = false;  // the product adds the bias and applies the activation
    std::optional<Product> forward, backward_weights, backward_data;
  };

  Prepared& prepared(Slot slot) { return prepared_[static_cast<std::size_t>(slot)]; }
  std::int64_t element(std::int64_t place) const { return element_of_place_[static_cast<std::size_t>(place)]; }

  /// None where cuBLASLt has no epilogue for what comes after the product: its GELU is the tanh approximation, ours is not.
  Product::Epilogue fused_epilogue() const {
    if (!config_.activation) return config_.bias ? Product::Epilogue::bias : Product::Epilogue::none;
    if (config_.activation->kind != ActivationKind::relu) return Product::Epilogue::none;
    return config_.bias ? Product::Epilogue::bias_relu : Product::Epilogue::relu;
  }

  Product required(const ProductShape& shape) {
    std::optional<Product> product = Product::prepare(context_, shape, Product::Epilogue::none);
    if (!product) {
      fail(ExitStatus::failed, "cuBLASLt knows no algorithm for a product of {} x {} by {} x {}", shape.rows,
           shape.depth, shape.depth, shape.columns);
    }
    return std::move(*product);
  }

  void require_row_sum_scratch(std::int64_t rows) {
    const auto bytes = static_cast<std::size_t>(sum_rows_scratch_floats(rows, out_)) * sizeof(float);
    if (row_sums_.size() < bytes) row_sums_ = device_buffer(bytes);
  }

  Context& context_;
  LinearConfig config_;
  std::int64_t in_, out_;
  TensorDesc output_;
  std::vector<std::int32_t> element_of_place_;
  std::vector<Prepared> prepared_;
  Buffer row_sums_;
};

}  // namespace

std::unique_ptr<AffineOperation> make_linear(Context& context, const LinearConfig& config) {
  return std::make_unique<Linear>(context, config);
}

}  // namespace dptrain::cuda

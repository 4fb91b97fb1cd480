#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/parameter_copies.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/row_sums.h"

namespace dptrain::cuda {

namespace {

/// Names of tensors in the graphs.
constexpr std::int64_t kX = 1, kW = 2, kY = 3, kBias = 4, kProducts = 5, kSums = 6;

/// Channels come last in all tensors, weights too: (out, height, width, in / groups). A plain image of one channel is
/// the same memory; with more channels forward sorts it into a copy, which backward_weights finds again, and likewise
/// an image of floats where it is computed in 16 bits. There the engines read copies of weights and bias. The gradient
/// of the weights is summed up in fp32 over a micro-batch and rounded once when it is stored, because cuDNN (9.19) has
/// no ready engine that stores it as floats (one that is compiled at run time takes seconds, and knows no first
/// layers); it is widened behind that, and further sums are in fp32. The same in TF32 from widened x and dy would not
/// round, and move five times the bytes.
class Convolution final : public AffineOperation {
 public:
  Convolution(Context& context, const ConvolutionConfig& config)
      : context_(context),
        config_(config),
        compute_(config.types.compute),
        channels_(config.input.shape[0]),
        area_(config.input.shape[1] * config.input.shape[2]),
        sorts_(config.input.plain() && channels_ > 1 && area_ > 1),
        copies_(sorts_ || config.input.type != compute_),
        parameters_(context, {weights_of(config), config.spec.bias ? config.spec.out_channels : 0}, compute_,
                    compute_) {
    DPTRAIN_CHECK(config.types.output == compute_, "a convolution stores its output as it computes");
    const Conv2dSpec& s = config.spec;
    const Shape& in = config.input.shape;
    const std::int64_t height = (in[1] + 2 * s.padding_height - s.kernel_height) / s.stride_height + 1;
    const std::int64_t width = (in[2] + 2 * s.padding_width - s.kernel_width) / s.stride_width + 1;
    output_ = TensorDesc(Shape{s.out_channels, height, width}, Layout{Layout::Order::channels_last, 1}, compute_);
    geometry_ = {{s.stride_height, s.stride_width}, {s.padding_height, s.padding_width}};
    weights_ = {s.out_channels, channels_ / s.groups, s.kernel_height, s.kernel_width};
    DPTRAIN_CHECK(config.input.layout.order != Layout::Order::blocked, "nothing is blocked on a GPU");
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return weights_of(config_); }
  std::int64_t copy_bytes() const override {
    return parameters_.bytes() + static_cast<std::int64_t>(inner_x_.size() + inner_dx_.size() + narrow_dw_.size());
  }
  void pack(const float* canonical, float* stored) const override {
    for_each_weight([&](std::int64_t place, std::int64_t element) { stored[place] = canonical[element]; });
  }
  void unpack(const float* stored, float* canonical) const override {
    for_each_weight([&](std::int64_t place, std::int64_t element) { canonical[element] = stored[place]; });
  }

  void prepare(std::int64_t batch) override {
    Prepared p;
    p.batch = batch;
    prepare_forward(p);
    p.backward_weights = required(backward_weights_graph(batch), "backward, for the weights");
    if (config_.input_gradient) p.backward_data = required(backward_data_graph(batch), "backward, for the input");
    if (compute_ != ElementType::float32) grow(narrow_dw_, weight_floats() * bytes_of(compute_));
    if (copies_) {
      grow(inner_x_, batch * channels_ * area_ * bytes_of(compute_));
      if (config_.input_gradient) grow(inner_dx_, batch * channels_ * area_ * bytes_of(compute_));
    }
    if (config_.spec.bias) grow(row_sums_, sum_rows_scratch_bytes(compute_, rows(batch), output_.shape[0]));
    prepared_.push_back(std::move(p));
  }

  void set_weights(const float* weight, const float* bias, std::int64_t version) override {
    parameters_.refresh(weight, bias, version);
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared(slot);
    if (copies_) {
      convert_image(p.batch, channels_, area_, config_.input.type, x, compute_, inner_x_.data());
      x = inner_x_.data();
    }
    const Plan::Binding bindings[] = {
        {kX, x}, {kW, parameters_.weight(weight)}, {kY, y}, {kBias, parameters_.bias(bias)}};
    p.forward->run(std::span(bindings).first(p.adds_bias ? 4 : 3));
    add_bias_and_activate(context_, config_.spec.bias && !p.adds_bias ? bias : nullptr,
                          config_.activation && !p.activates ? &*config_.activation : nullptr, rows(p.batch),
                          output_.shape[0], compute_, y);
  }

  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared(slot);
    const bool narrow = compute_ != ElementType::float32;
    const Plan::Binding bindings[] = {
        {kX, copies_ ? inner_x_.data() : x}, {kY, dy}, {kW, narrow ? narrow_dw_.data() : weight_gradient}};
    p.backward_weights->run(bindings);
    if (narrow) convert(context_, weight_floats(), compute_, narrow_dw_.data(), ElementType::float32, weight_gradient);
    if (config_.spec.bias)
      sum_rows(context_, compute_, dy, rows(p.batch), output_.shape[0], row_sums_.data(), bias_gradient);
  }

  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t /*version*/, void* dx) override {
    Prepared& p = prepared(slot);
    const Plan::Binding bindings[] = {
        {kY, dy}, {kW, parameters_.weight(weight)}, {kX, copies_ ? inner_dx_.data() : dx}};
    p.backward_data->run(bindings);
    if (copies_) convert_image(p.batch, area_, channels_, compute_, inner_dx_.data(), config_.input.type, dx);
  }

  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Prepared& p : prepared_) {
      for (const auto* plan : {&p.forward, &p.backward_weights, &p.backward_data}) {
        if (*plan) names.push_back((*plan)->implementation());
      }
    }
    return names;
  }

 private:
  struct Prepared {
    std::int64_t batch = 0;
    bool adds_bias = false, activates = false;  // what the graph of forward does by itself
    std::optional<Plan> forward, backward_weights, backward_data;
  };

  Prepared& prepared(Slot slot) { return prepared_[static_cast<std::size_t>(slot)]; }
  std::int64_t rows(std::int64_t batch) const { return batch * output_.shape[1] * output_.shape[2]; }
  Extents x_extents(std::int64_t batch) const {
    return {batch, channels_, config_.input.shape[1], config_.input.shape[2]};
  }
  Extents y_extents(std::int64_t batch) const { return {batch, output_.shape[0], output_.shape[1], output_.shape[2]}; }

  /// With the bias and a ReLU in its graph, where cuDNN has an engine for that.
  void prepare_forward(Prepared& p) {
    const bool bias = config_.spec.bias, relu = config_.activation && config_.activation->kind == ActivationKind::relu;
    if (bias || relu) p.forward = Plan::choose(context_, forward_graph(p.batch, bias, relu), Effort::preferred);
    if (p.forward) {
      p.adds_bias = bias;
      p.activates = relu;
    } else {
      p.forward = required(forward_graph(p.batch, false, false), "forward");
    }
  }

  OperationGraph forward_graph(std::int64_t batch, bool with_bias, bool with_relu) const {
    OperationGraph graph(compute_);
    const Extents extents = y_extents(batch);
    const auto x = graph.tensor(kX, x_extents(batch)), w = graph.tensor(kW, weights_), y = graph.tensor(kY, extents);
    auto result = with_bias || with_relu ? graph.intermediate(kProducts, extents) : y;
    graph.convolution(geometry_, x, w, result);
    if (with_bias) {
      const auto bias = graph.tensor(kBias, {1, output_.shape[0], 1, 1});
      const auto sums = with_relu ? graph.intermediate(kSums, extents) : y;
      graph.add(result, bias, sums);
      result = sums;
    }
    if (with_relu) graph.relu(result, y);
    graph.finalize(context_.dnn);
    return graph;
  }

  OperationGraph backward_weights_graph(std::int64_t batch) const {
    OperationGraph graph(compute_);
    const auto x = graph.tensor(kX, x_extents(batch)), dy = graph.tensor(kY, y_extents(batch));
    graph.convolution_backward_weights(geometry_, x, dy, graph.tensor(kW, weights_));
    graph.finalize(context_.dnn);
    return graph;
  }

  OperationGraph backward_data_graph(std::int64_t batch) const {
    OperationGraph graph(compute_);
    const auto dy = graph.tensor(kY, y_extents(batch)), w = graph.tensor(kW, weights_);
    graph.convolution_backward_data(geometry_, dy, w, graph.tensor(kX, x_extents(batch)));
    graph.finalize(context_.dnn);
    return graph;
  }

  Plan required(OperationGraph graph, const char* direction) const {
    std::optional<Plan> plan = Plan::choose(context_, std::move(graph), Effort::any);
    if (!plan) {
      const Conv2dSpec& s = config_.spec;
      fail(ExitStatus::failed,
           "cuDNN {} has no {}{} engine for a convolution {} ({} x {} kernel, {} to {} channels, {} groups){}",
           cudnnGetVersion(), context_.reproducible ? "deterministic " : "", name_of_precision(), direction,
           s.kernel_height, s.kernel_width, channels_, s.out_channels, s.groups,
           compute_ == ElementType::float32 && !context_.tf32 ? "; `precision: tf32` allows more of them" : "");
    }
    return std::move(*plan);
  }

  const char* name_of_precision() const {
    switch (compute_) {
      case ElementType::float32:
        return context_.tf32 ? "tf32" : "fp32";
      case ElementType::bfloat16:
        return "bf16";
      case ElementType::float16:
        return "fp16";
    }
    return "";
  }

  /// Between the image as it comes and the inner one; where it is not sorted only its type changes.
  void convert_image(std::int64_t batch, std::int64_t rows, std::int64_t columns, ElementType from_type,
                     const void* from, ElementType to_type, void* to) const {
    if (sorts_)
      transpose(context_, batch, rows, columns, from_type, from, to_type, to);
    else
      convert(context_, batch * rows * columns, from_type, from, to_type, to);
  }

  static std::int64_t weights_of(const ConvolutionConfig& config) {
    const Conv2dSpec& s = config.spec;
    return s.out_channels * (config.input.shape[0] / s.groups) * s.kernel_height * s.kernel_width;
  }

  /// Calls visit(place in memory, canonical element) for each weight; the canonical order is (out, in, height, width).
  template <class Visit>
  void for_each_weight(const Visit& visit) const {
    const auto [outs, ins, height, width] = weights_;
    std::int64_t place = 0;
    for (std::int64_t o = 0; o < outs; ++o) {
      for (std::int64_t pixel = 0; pixel < height * width; ++pixel) {
        for (std::int64_t i = 0; i < ins; ++i) visit(place++, (o * ins + i) * height * width + pixel);
      }
    }
  }

  Context& context_;
  ConvolutionConfig config_;
  ElementType compute_;
  std::int64_t channels_, area_;  // of the input
  bool sorts_, copies_;           // the input as it comes into another layout; into other memory
  ParameterCopies parameters_;
  TensorDesc output_;
  ConvolutionGeometry geometry_;
  Extents weights_{};
  std::vector<Prepared> prepared_;
  Buffer inner_x_, inner_dx_, row_sums_;
  Buffer narrow_dw_;  // the gradient of the weights as it is computed, where that is in 16 bits
};

}  // namespace

std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config) {
  return std::make_unique<Convolution>(context, config);
}

}  // namespace dptrain::cuda

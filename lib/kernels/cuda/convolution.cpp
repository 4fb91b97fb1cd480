#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/plan.h"

namespace dptrain::cuda {

namespace {

/// Names of tensors in the graphs.
constexpr std::int64_t kX = 1, kW = 2, kY = 3, kBias = 4, kProducts = 5, kSums = 6;

/// Channels come last in all tensors, weights too: (out, height, width, in / groups). A plain image of one channel is the same
/// memory; with more channels forward sorts it into a copy, which backward_weights finds again.
class Convolution final : public AffineOperation {
 public:
  Convolution(Context& context, const ConvolutionConfig& config)
      : context_(context),
        config_(config),
        channels_(config.input.shape[0]),
        area_(config.input.shape[1] * config.input.shape[2]) {
    const Conv2dSpec& s = config.spec;
    const Shape& in = config.input.shape;
    const std::int64_t height = (in[1] + 2 * s.padding_height - s.kernel_height) / s.stride_height + 1;
    const std::int64_t width = (in[2] + 2 * s.padding_width - s.kernel_width) / s.stride_width + 1;
    output_ = TensorDesc(Shape{s.out_channels, height, width}, Layout{Layout::Order::channels_last, 1});
    geometry_ = {{s.stride_height, s.stride_width}, {s.padding_height, s.padding_width}};
    weights_ = {s.out_channels, channels_ / s.groups, s.kernel_height, s.kernel_width};
    copies_ = config.input.plain() && channels_ > 1 && area_ > 1;
    DPTRAIN_CHECK(config.input.layout.order != Layout::Order::blocked, "nothing is blocked on a GPU");
  }

  const TensorDesc& output() const override { return output_; }
  std::int64_t weight_floats() const override { return weights_[0] * weights_[1] * weights_[2] * weights_[3]; }
  void pack(const float* canonical, float* stored) const override {
    for_each_weight([&](std::int64_t place, std::int64_t element) { stored[place] = canonical[element]; });
  }
  void unpack(const float* stored, float* canonical) const override {
    for_each_weight([&](std::int64_t place, std::int64_t element) { canonical[element] = stored[place]; });
  }

  void prepare(std::int64_t batch) override {
    Prepared p;
    p.batch = batch;
    if (!config_.activation || config_.activation->kind == ActivationKind::relu) {
      p.forward =
          Plan::choose(context_, forward_graph(batch, /*fused=*/true), plain() ? Effort::any : Effort::preferred);
      p.fused = p.forward.has_value();
    }
    if (!p.forward) p.forward = required(forward_graph(batch, /*fused=*/false), "forward");
    p.backward_weights = required(backward_weights_graph(batch), "backward, for the weights");
    if (config_.input_gradient) p.backward_data = required(backward_data_graph(batch), "backward, for the input");
    if (copies_) {
      grow(inner_x_, batch * channels_ * area_);
      if (config_.input_gradient) grow(inner_dx_, batch * channels_ * area_);
    }
    if (config_.spec.bias) grow(row_sums_, sum_rows_scratch_floats(rows(batch), output_.shape[0]));
    prepared_.push_back(std::move(p));
  }

  void forward(Slot slot, const void* x, const float* weight, const float* bias, void* y) override {
    Prepared& p = prepared(slot);
    if (copies_) {
      transpose(context_, p.batch, channels_, area_, floats(x), inner_x_.floats());
      x = inner_x_.floats();
    }
    const Plan::Binding bindings[] = {{kX, x}, {kW, weight}, {kY, y}, {kBias, bias}};
    p.forward->run(std::span(bindings).first(p.fused && config_.spec.bias ? 4 : 3));
    if (!p.fused) {
      add_bias_and_activate(context_, config_.spec.bias ? bias : nullptr,
                            config_.activation ? &*config_.activation : nullptr, rows(p.batch), output_.shape[0],
                            floats(y));
    }
  }

  void backward_weights(Slot slot, const void* x, const void* dy, float* weight_gradient,
                        float* bias_gradient) override {
    Prepared& p = prepared(slot);
    const Plan::Binding bindings[] = {{kX, copies_ ? inner_x_.data() : x}, {kY, dy}, {kW, weight_gradient}};
    p.backward_weights->run(bindings);
    if (config_.spec.bias)
      sum_rows(context_, floats(dy), rows(p.batch), output_.shape[0], row_sums_.floats(), bias_gradient);
  }

  void backward_data(Slot slot, const void* dy, const float* weight, std::int64_t /*version*/, void* dx) override {
    Prepared& p = prepared(slot);
    const Plan::Binding bindings[] = {{kY, dy}, {kW, weight}, {kX, copies_ ? inner_dx_.data() : dx}};
    p.backward_data->run(bindings);
    if (copies_) transpose(context_, p.batch, area_, channels_, inner_dx_.floats(), floats(dx));
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
    bool fused = false;  // the forward graph adds the bias and applies the activation
    std::optional<Plan> forward, backward_weights, backward_data;
  };

  Prepared& prepared(Slot slot) { return prepared_[static_cast<std::size_t>(slot)]; }
  bool plain() const { return !config_.spec.bias && !config_.activation; }
  std::int64_t rows(std::int64_t batch) const { return batch * output_.shape[1] * output_.shape[2]; }
  Extents x_extents(std::int64_t batch) const {
    return {batch, channels_, config_.input.shape[1], config_.input.shape[2]};
  }
  Extents y_extents(std::int64_t batch) const { return {batch, output_.shape[0], output_.shape[1], output_.shape[2]}; }

  OperationGraph forward_graph(std::int64_t batch, bool fused) const {
    OperationGraph graph;
    const Extents extents = y_extents(batch);
    const bool with_bias = fused && config_.spec.bias, with_relu = fused && config_.activation;
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
    OperationGraph graph;
    const auto x = graph.tensor(kX, x_extents(batch)), dy = graph.tensor(kY, y_extents(batch));
    graph.convolution_backward_weights(geometry_, x, dy, graph.tensor(kW, weights_));
    graph.finalize(context_.dnn);
    return graph;
  }

  OperationGraph backward_data_graph(std::int64_t batch) const {
    OperationGraph graph;
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
           cudnnGetVersion(), context_.reproducible ? "deterministic " : "", context_.tf32 ? "tf32" : "fp32", direction,
           s.kernel_height, s.kernel_width, channels_, s.out_channels, s.groups,
           context_.tf32 ? "" : "; `precision: tf32` allows more of them");
    }
    return std::move(*plan);
  }

  static void grow(Buffer& buffer, std::int64_t floats) {
    const auto bytes = static_cast<std::size_t>(floats) * sizeof(float);
    if (buffer.size() < bytes) buffer = device_buffer(bytes);
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
  std::int64_t channels_, area_;  // of the input
  TensorDesc output_;
  ConvolutionGeometry geometry_;
  Extents weights_{};
  bool copies_ = false;
  std::vector<Prepared> prepared_;
  Buffer inner_x_, inner_dx_, row_sums_;
};

}  // namespace

std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config) {
  return std::make_unique<Convolution>(context, config);
}

}  // namespace dptrain::cuda

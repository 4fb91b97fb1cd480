// Activations, softmax and the reorder to plain: one primitive forward, one backward, nothing kept between them.
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

using dnnl::memory;

namespace {

/// What the three share: the prepared pairs of primitives.
class PairedOperation : public UnaryOperation {
 public:
  PairedOperation(Context& context, TensorDesc input, TensorDesc output)
      : context_(context), input_(std::move(input)), output_(std::move(output)) {}
  const TensorDesc& output() const override { return output_; }
  std::vector<std::string> implementations() const override {
    std::vector<std::string> names;
    for (const Pair& p : prepared_) {
      names.push_back(p.forward.implementation());
      names.push_back(p.backward.implementation());
    }
    return names;
  }

 protected:
  struct Pair {
    Primitive forward, backward;
  };
  Pair& pair(Slot slot) { return prepared_[static_cast<std::size_t>(slot)]; }

  Context& context_;
  TensorDesc input_, output_;
  std::vector<Pair> prepared_;
};

class Activation final : public PairedOperation {
 public:
  Activation(Context& context, const TensorDesc& input, const ActivationSpec& spec)
      : PairedOperation(context, input, input), from_input_(backward_needs_input(spec)), eltwise_(eltwise(spec)) {}

  void prepare(std::int64_t batch) override {
    const memory::desc x = memory_desc(input_, batch);
    const dnnl::eltwise_forward::primitive_desc forward(
        dnnl::eltwise_forward::desc(dnnl::prop_kind::forward_training, eltwise_.forward, x, eltwise_.alpha, 0.0f),
        default_attributes(), context_.engine());
    const dnnl::eltwise_backward::primitive_desc backward(
        dnnl::eltwise_backward::desc(eltwise_.backward, x, x, eltwise_.alpha, 0.0f), default_attributes(), context_.engine(),
        forward);
    Pair p;
    p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, x}});
    p.backward = Primitive(context_, backward,
                           {{from_input_ ? DNNL_ARG_SRC : DNNL_ARG_DST, x}, {DNNL_ARG_DIFF_DST, x}, {DNNL_ARG_DIFF_SRC, x}});
    prepared_.push_back(std::move(p));
  }
  void forward(Slot slot, const float* x, float* y) override { pair(slot).forward.run({x, y}); }
  void backward(Slot slot, const float* x, const float* y, const float* dy, float* dx) override {
    pair(slot).backward.run({from_input_ ? x : y, dy, dx});
  }

 private:
  bool from_input_;
  Eltwise eltwise_;
};

class Softmax final : public PairedOperation {
 public:
  Softmax(Context& context, const TensorDesc& input) : PairedOperation(context, input, input) {}

  void prepare(std::int64_t batch) override {
    constexpr int kChannelAxis = 1;
    const memory::desc x = memory_desc(input_, batch);
    const dnnl::softmax_forward::primitive_desc forward(
        dnnl::softmax_forward::desc(dnnl::prop_kind::forward_training, x, kChannelAxis), default_attributes(),
        context_.engine());
    const dnnl::softmax_backward::primitive_desc backward(dnnl::softmax_backward::desc(x, x, kChannelAxis),
                                                          default_attributes(), context_.engine(), forward);
    Pair p;
    p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, x}});
    p.backward = Primitive(context_, backward, {{DNNL_ARG_DST, x}, {DNNL_ARG_DIFF_DST, x}, {DNNL_ARG_DIFF_SRC, x}});
    prepared_.push_back(std::move(p));
  }
  void forward(Slot slot, const float* x, float* y) override { pair(slot).forward.run({x, y}); }
  void backward(Slot slot, const float*, const float* y, const float* dy, float* dx) override {
    pair(slot).backward.run({y, dy, dx});
  }
};

class ReorderToPlain final : public PairedOperation {
 public:
  ReorderToPlain(Context& context, const TensorDesc& input) : PairedOperation(context, input, TensorDesc(input.shape)) {}

  void prepare(std::int64_t batch) override {
    // A flattened image moves as the image it is in memory.
    TensorDesc image = input_;
    image.shape = input_.stored;
    const memory::desc x = memory_desc(image, batch), y = memory_desc(TensorDesc(image.shape), batch);
    const auto reorder = [&](const memory::desc& from, const memory::desc& to) {
      return Primitive(context_,
                       dnnl::reorder::primitive_desc(context_.engine(), from, context_.engine(), to, default_attributes()),
                       {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
    };
    prepared_.push_back({reorder(x, y), reorder(y, x)});
  }
  void forward(Slot slot, const float* x, float* y) override { pair(slot).forward.run({x, y}); }
  void backward(Slot slot, const float*, const float*, const float* dy, float* dx) override {
    pair(slot).backward.run({dy, dx});
  }
};

}  // namespace

std::unique_ptr<UnaryOperation> make_activation(Context& context, const TensorDesc& input, const ActivationSpec& spec) {
  return std::make_unique<Activation>(context, input, spec);
}
std::unique_ptr<UnaryOperation> make_softmax(Context& context, const TensorDesc& input) {
  return std::make_unique<Softmax>(context, input);
}
std::unique_ptr<UnaryOperation> make_reorder_to_plain(Context& context, const TensorDesc& input) {
  return std::make_unique<ReorderToPlain>(context, input);
}

}  // namespace dptrain::cpu

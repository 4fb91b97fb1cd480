// Activations, softmax and the reorder to plain.
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
      if (p.backward) names.push_back(p.backward.implementation());
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
        dnnl::eltwise_backward::desc(eltwise_.backward, x, x, eltwise_.alpha, 0.0f), default_attributes(),
        context_.engine(), forward);
    Pair p;
    p.forward = Primitive(context_, forward, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, x}});
    p.backward =
        Primitive(context_, backward,
                  {{from_input_ ? DNNL_ARG_SRC : DNNL_ARG_DST, x}, {DNNL_ARG_DIFF_DST, x}, {DNNL_ARG_DIFF_SRC, x}});
    prepared_.push_back(std::move(p));
  }
  void forward(Slot slot, const void* x, void* y) override { pair(slot).forward.run({x, y}); }
  void backward(Slot slot, const void* x, const void* y, const void* dy, void* dx) override {
    pair(slot).backward.run({from_input_ ? x : y, dy, dx});
  }

 private:
  bool from_input_;
  Eltwise eltwise_;
};

/// Over features, or over the channels of an image: there oneDNN has only a reference implementation for plain tensors,
/// so pixels are sorted into rows of channels, which forward keeps for backward. Backward is our own: below AVX-512
/// oneDNN has only a reference implementation of it.
class Softmax final : public PairedOperation {
 public:
  Softmax(Context& context, const TensorDesc& input) : PairedOperation(context, input, input) {}

  void prepare(std::int64_t batch) override {
    const bool image = input_.shape.rank() == 3;
    const std::int64_t classes = input_.shape[0], rows = batch * input_.shape.elements() / classes;
    const memory::desc matrix = memory_desc(TensorDesc(Shape{classes}), rows);
    constexpr int kClassAxis = 1;
    const dnnl::softmax_forward::primitive_desc forward(
        dnnl::softmax_forward::desc(dnnl::prop_kind::forward_training, matrix, kClassAxis), default_attributes(),
        context_.engine());
    prepared_.push_back({Primitive(context_, forward, {{DNNL_ARG_SRC, matrix}, {DNNL_ARG_DST, matrix}}), Primitive()});
    rows_.push_back(rows);
    if (!image) return;
    const memory::desc plain = memory_desc(input_, batch);
    const memory::desc rows_of_channels =
        memory_desc(TensorDesc(input_.shape, {Layout::Order::channels_last, 1}), batch);
    sorting_.push_back(
        {reorder_primitive(context_, plain, rows_of_channels), reorder_primitive(context_, rows_of_channels, plain)});
    if (y_rows_.size() < matrix.get_size()) {
      y_rows_ = Buffer::host(matrix.get_size());
      difference_rows_ = Buffer::host(matrix.get_size());
    }
  }
  void forward(Slot slot, const void* x, void* y) override {
    if (sorting_.empty()) return pair(slot).forward.run({x, y});
    Sorting& sorting = sorting_[static_cast<std::size_t>(slot)];
    sorting.to_rows.run({x, y_rows_.data()});
    pair(slot).forward.run({y_rows_.data(), y_rows_.data()});
    sorting.from_rows.run({y_rows_.data(), y});
  }
  void backward(Slot slot, const void*, const void* y, const void* dy, void* dx) override {
    if (sorting_.empty()) {
      return differentiate(slot, static_cast<const float*>(y), static_cast<const float*>(dy), static_cast<float*>(dx));
    }
    Sorting& sorting = sorting_[static_cast<std::size_t>(slot)];
    sorting.to_rows.run({dy, difference_rows_.data()});
    differentiate(slot, y_rows_.floats(), difference_rows_.floats(), difference_rows_.floats());
    sorting.from_rows.run({difference_rows_.data(), dx});
  }
  std::vector<std::string> implementations() const override {
    std::vector<std::string> names = PairedOperation::implementations();
    for (const Sorting& sorting : sorting_) {
      names.push_back(sorting.to_rows.implementation());
      names.push_back(sorting.from_rows.implementation());
    }
    return names;
  }

 private:
  struct Sorting {
    Primitive to_rows, from_rows;
  };
  /// dx = y (dy - sum(y dy)), row by row.
  void differentiate(Slot slot, const float* y, const float* dy, float* dx) const {
    const std::int64_t classes = input_.shape[0];
    for (std::int64_t row = rows_[static_cast<std::size_t>(slot)]; row > 0;
         --row, y += classes, dy += classes, dx += classes) {
      float sum = 0;
      for (std::int64_t c = 0; c < classes; ++c) sum += y[c] * dy[c];
      for (std::int64_t c = 0; c < classes; ++c) dx[c] = y[c] * (dy[c] - sum);
    }
  }

  std::vector<std::int64_t> rows_;  // by slot
  std::vector<Sorting> sorting_;    // by slot; empty for features
  Buffer y_rows_, difference_rows_;
};

class ReorderToPlain final : public PairedOperation {
 public:
  ReorderToPlain(Context& context, const TensorDesc& input, ElementType type)
      : PairedOperation(context, input, TensorDesc(input.shape).as(type)) {}

  void prepare(std::int64_t batch) override {
    // A flattened image moves as the image it is in memory.
    TensorDesc image = input_;
    image.shape = input_.stored;
    const memory::desc x = memory_desc(image, batch), y = memory_desc(TensorDesc(image.shape).as(output_.type), batch);
    prepared_.push_back({reorder_primitive(context_, x, y), reorder_primitive(context_, y, x)});
  }
  void forward(Slot slot, const void* x, void* y) override { pair(slot).forward.run({x, y}); }
  void backward(Slot slot, const void*, const void*, const void* dy, void* dx) override {
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
std::unique_ptr<UnaryOperation> make_reorder_to_plain(Context& context, const TensorDesc& input, ElementType type) {
  return std::make_unique<ReorderToPlain>(context, input, type);
}

}  // namespace dptrain::cpu

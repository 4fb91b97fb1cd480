// The operations without parameters, over the kernels that compute them.
#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/pool.h"

namespace dptrain::cuda {

namespace {

/// What all have: tensors, the batch sizes by slot, and nothing that a library chooses.
class UnaryBase : public UnaryOperation {
 public:
  UnaryBase(Context& context, TensorDesc input, TensorDesc output)
      : context_(context), input_(std::move(input)), output_(std::move(output)) {
    DPTRAIN_CHECK(!input_.padded(), "nothing is padded on a GPU");
  }
  const TensorDesc& output() const override { return output_; }
  void prepare(std::int64_t batch) override { batches_.push_back(batch); }
  std::vector<std::string> implementations() const override { return {}; }

 protected:
  std::int64_t batch(Slot slot) const { return batches_[static_cast<std::size_t>(slot)]; }

  Context& context_;
  TensorDesc input_, output_;

 private:
  std::vector<std::int64_t> batches_;
};

class Activation final : public UnaryBase {
 public:
  Activation(Context& context, const TensorDesc& input, const ActivationSpec& spec)
      : UnaryBase(context, input, input), spec_(spec), from_input_(backward_needs_input(spec)) {}

  void forward(Slot slot, const void* x, void* y) override {
    activate(context_, spec_, input_.type, batch(slot) * input_.size(), x, y);
  }
  void backward(Slot slot, const void* x, const void* y, const void* dy, void* dx) override {
    activate_backward(context_, spec_, input_.type, batch(slot) * input_.size(), from_input_ ? x : y, dy, dx);
  }

 private:
  ActivationSpec spec_;
  bool from_input_;
};

class Softmax final : public UnaryBase {
 public:
  Softmax(Context& context, const TensorDesc& input)
      : UnaryBase(context, input, input), classes_(input.shape[0]), inner_(input.shape.elements() / classes_) {
    DPTRAIN_CHECK(input.plain() && input.type == ElementType::float32, "softmax takes plain tensors of floats");
  }

  void forward(Slot slot, const void* x, void* y) override {
    softmax(context_, batch(slot), classes_, inner_, floats(x), floats(y));
  }
  void backward(Slot slot, const void*, const void* y, const void* dy, void* dx) override {
    softmax_backward(context_, batch(slot), classes_, inner_, floats(y), floats(dy), floats(dx));
  }

 private:
  std::int64_t classes_, inner_;
};

/// A flattened image moves as the image it is in memory.
class ReorderToPlain final : public UnaryBase {
 public:
  ReorderToPlain(Context& context, const TensorDesc& input, ElementType type)
      : UnaryBase(context, input, TensorDesc(input.shape).as(type)),
        channels_(input.plain() ? 1 : input.stored[0]),
        pixels_(input.size() / channels_) {}

  void forward(Slot slot, const void* x, void* y) override {
    transpose(context_, batch(slot), pixels_, channels_, input_.type, x, output_.type, y);
  }
  void backward(Slot slot, const void*, const void*, const void* dy, void* dx) override {
    transpose(context_, batch(slot), channels_, pixels_, output_.type, dy, input_.type, dx);
  }

 private:
  std::int64_t channels_, pixels_;
};

std::int64_t pooled(std::int64_t extent, std::int64_t padding, std::int64_t kernel, std::int64_t stride) {
  return (extent + 2 * padding - kernel) / stride + 1;
}

/// In its input's layout. A maximum keeps where it was found, for backward.
class Pool final : public UnaryBase {
 public:
  Pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec)
      : UnaryBase(context, input,
                  TensorDesc(Shape{input.shape[0],
                                   pooled(input.shape[1], spec.padding_height, spec.kernel_height, spec.stride_height),
                                   pooled(input.shape[2], spec.padding_width, spec.kernel_width, spec.stride_width)},
                             input.layout, input.type)),
        max_(spec.kind == PoolKind::max),
        sample_{.outer = input.plain() ? input.shape[0] : 1,
                .inner = input.plain() ? 1 : input.shape[0],
                .height = input.shape[1],
                .width = input.shape[2],
                .out_height = output_.shape[1],
                .out_width = output_.shape[2],
                .kernel_height = spec.kernel_height,
                .kernel_width = spec.kernel_width,
                .stride_height = spec.stride_height,
                .stride_width = spec.stride_width,
                .padding_height = spec.padding_height,
                .padding_width = spec.padding_width,
                .type = input.type} {}

  void prepare(std::int64_t batch) override {
    UnaryBase::prepare(batch);
    const std::size_t bytes = static_cast<std::size_t>(batch * output_.size()) * sizeof(std::int32_t);
    if (max_ && chosen_.size() < bytes) chosen_ = device_buffer(bytes);
  }
  void forward(Slot slot, const void* x, void* y) override {
    if (max_)
      max_pool(context_, shape(slot), x, y, chosen());
    else
      average_pool(context_, shape(slot), x, y);
  }
  void backward(Slot slot, const void*, const void*, const void* dy, void* dx) override {
    if (max_)
      max_pool_backward(context_, shape(slot), dy, chosen(), nullptr, dx);
    else
      average_pool_backward(context_, shape(slot), dy, dx);
  }

 private:
  PoolShape shape(Slot slot) const {
    PoolShape whole = sample_;
    whole.outer *= batch(slot);
    return whole;
  }
  std::int32_t* chosen() const { return static_cast<std::int32_t*>(chosen_.data()); }

  bool max_;
  PoolShape sample_;
  Buffer chosen_;
};

}  // namespace

std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec) {
  return std::make_unique<Pool>(context, input, spec);
}
std::unique_ptr<UnaryOperation> make_activation(Context& context, const TensorDesc& input, const ActivationSpec& spec) {
  return std::make_unique<Activation>(context, input, spec);
}
std::unique_ptr<UnaryOperation> make_softmax(Context& context, const TensorDesc& input) {
  return std::make_unique<Softmax>(context, input);
}
std::unique_ptr<UnaryOperation> make_reorder_to_plain(Context& context, const TensorDesc& input, ElementType type) {
  return std::make_unique<ReorderToPlain>(context, input, type);
}

}  // namespace dptrain::cuda

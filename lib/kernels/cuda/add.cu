// Sums of two tensors: where residual blocks end, and where the gradients of their paths meet.
#include "core/host_device.h"
#include "device/cuda/runtime.h"
#include "kernels/add_places.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace dptrain::cuda {
namespace {

/// y[i] = a[i] + what b has for it. Tensors that lie alike have no places; a null a is zero. Where there is `mask`, y
/// is zero wherever that is not above zero.
template <class Element>
struct Sum {
  const Element *a, *b;
  const std::int32_t* places;
  const Element* mask;
  Element* y;
  std::int64_t size, size_b;  // of a sample
  bool relu;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    float sum = a == nullptr ? 0.0f : wide(a[i]);
    if (places == nullptr) {
      sum += wide(b[i]);
    } else if (places[i % size] >= 0) {
      sum += wide(b[i / size * size_b + places[i % size]]);
    }
    if (mask != nullptr && !(wide(mask[i]) > 0.0f)) sum = 0.0f;
    store(y[i], relu && sum < 0.0f ? 0.0f : sum);  // NaN stays NaN
  }
};

class Add final : public AddOperation {
 public:
  Add(Context& context, const AddConfig& config)
      : context_(context), config_(config), same_(config.a == config.b && config.stride == 1) {
    if (same_) return;
    const AddPlaces places = add_places(config);
    of_a_ = on_device(places.of_a);
    of_b_ = on_device(places.of_b);
  }

  const TensorDesc& output() const override { return config_.a; }
  void prepare(std::int64_t batch) override { batches_.push_back(batch); }
  std::vector<std::string> implementations() const override { return {}; }
  bool same_places() const override { return same_; }

  void forward(Slot slot, const void* a, const void* b, void* y) override {
    sum(batch(slot), config_.a.size(), config_.b.size(), {a, b, nullptr}, of_a_, config_.relu, y);
  }
  void backward(Slot slot, const void* dy, const void* base, const void* rectified, void* dx) override {
    sum(batch(slot), config_.b.size(), config_.a.size(), {base, dy, rectified}, of_b_, /*relu=*/false, dx);
  }

 private:
  struct Inputs {
    const void *a, *b, *mask;
  };
  void sum(std::int64_t samples, std::int64_t size, std::int64_t size_b, const Inputs& in, const Buffer& places,
           bool relu, void* y) const {
    with_element(config_.a.type, [&]<class Element>(Element) {
      for_each(samples * size, context_.stream,
               Sum<Element>{elements<Element>(in.a), elements<Element>(in.b),
                            static_cast<const std::int32_t*>(places.data()), elements<Element>(in.mask),
                            elements<Element>(y), size, size_b, relu});
    });
  }
  std::int64_t batch(Slot slot) const { return batches_[static_cast<std::size_t>(slot)]; }
  Buffer on_device(const std::vector<std::int32_t>& values) const {
    const std::size_t bytes = values.size() * sizeof(std::int32_t);
    Buffer buffer = device_buffer(bytes);
    check(cudaMemcpyAsync(buffer.data(), values.data(), bytes, cudaMemcpyHostToDevice, context_.stream),
          "a copy to the GPU failed");
    check(cudaStreamSynchronize(context_.stream), "a copy to the GPU failed");
    return buffer;
  }

  Context& context_;
  AddConfig config_;
  bool same_;
  Buffer of_a_, of_b_;                 // places; none where both lie alike
  std::vector<std::int64_t> batches_;  // by slot
};

}  // namespace

std::unique_ptr<AddOperation> make_add(Context& context, const AddConfig& config) {
  return std::make_unique<Add>(context, config);
}

}  // namespace dptrain::cuda

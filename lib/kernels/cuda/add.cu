// Sums of two tensors: where residual blocks end, and where the gradients of their paths meet.
#include "core/host_device.h"
#include "device/cuda/runtime.h"
#include "kernels/add_places.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/operations.h"

namespace dptrain::cuda {
namespace {

/// y[i] = a[i] + what b has for it. Tensors that lie alike have no places; a null a is zero. Where there is `mask`, y is zero
/// wherever that is not above zero.
struct Sum {
  const float *a, *b;
  const std::int32_t* places;
  const float* mask;
  float* y;
  std::int64_t size, size_b;  // of a sample
  bool relu;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    float sum = a == nullptr ? 0.0f : a[i];
    if (places == nullptr) {
      sum += b[i];
    } else if (places[i % size] >= 0) {
      sum += b[i / size * size_b + places[i % size]];
    }
    if (mask != nullptr && !(mask[i] > 0.0f)) sum = 0.0f;
    y[i] = relu && sum < 0.0f ? 0.0f : sum;  // NaN stays NaN
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
    const std::int64_t size = config_.a.size();
    for_each(batch(slot) * size, context_.stream,
             Sum{floats(a), floats(b), static_cast<const std::int32_t*>(of_a_.data()), nullptr, floats(y), size,
                 config_.b.size(), config_.relu});
  }
  void backward(Slot slot, const void* dy, const void* base, const void* rectified, void* dx) override {
    const std::int64_t size = config_.b.size();
    for_each(batch(slot) * size, context_.stream,
             Sum{floats(base), floats(dy), static_cast<const std::int32_t*>(of_b_.data()), floats(rectified),
                 floats(dx), size, config_.a.size(), false});
  }

 private:
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

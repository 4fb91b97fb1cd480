#include "kernels/cuda/cuda_kernels.h"

#include <cublasLt.h>
#include <cudnn.h>

#include <string>

#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/dropout.h"
#include "kernels/cuda/losses.h"
#include "kernels/cuda/operations.h"
#include "kernels/cuda/views.h"

namespace dptrain {

namespace {

using cuda::check;

class CudaKernels final : public Kernels {
 public:
  explicit CudaKernels(const CudaConfig& config)
      : context_(config.stream, config.tf32, config.reproducible),
        loss_entries_(cuda::device_buffer(cuda::LossScratch::kEntries * sizeof(LossSum))),
        loss_scratch_{static_cast<LossSum*>(loss_entries_.data()), config.loss_scale} {}

  std::int64_t workspace_bytes() const override { return static_cast<std::int64_t>(context_.workspace.size()); }
  Buffer allocate(std::size_t bytes) override { return cuda::device_buffer(bytes); }
  void upload(const void* host, std::size_t bytes, void* device) override {
    check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, context_.stream), "a copy to the GPU failed");
    check(cudaStreamSynchronize(context_.stream), "a copy to the GPU failed");
  }
  void copy(const void* from, std::int64_t bytes, void* to) override {
    check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, context_.stream),
          "a copy on the GPU failed");
  }

  std::unique_ptr<AffineOperation> linear(const LinearConfig& config) override {
    return cuda::make_linear(context_, config);
  }
  std::unique_ptr<AffineOperation> convolution(const ConvolutionConfig& config) override {
    return cuda::make_convolution(context_, config);
  }
  std::unique_ptr<UnaryOperation> pool(const TensorDesc& input, const Pool2dSpec& spec,
                                       std::int64_t /*full_batch*/) override {
    return cuda::make_pool(context_, input, spec);
  }
  std::unique_ptr<UnaryOperation> activation(const TensorDesc& input, const ActivationSpec& spec) override {
    return cuda::make_activation(context_, input, spec);
  }
  std::unique_ptr<UnaryOperation> softmax(const TensorDesc& input) override {
    return cuda::make_softmax(context_, input);
  }
  std::unique_ptr<NormOperation> norm(const NormConfig& config) override { return cuda::make_norm(context_, config); }
  std::unique_ptr<AddOperation> add(const AddConfig& config) override {
    DPTRAIN_CHECK(config.a.type == config.b.type, "a sum of two types");
    return cuda::make_add(context_, config);
  }
  std::unique_ptr<UnaryOperation> reorder_to_plain(const TensorDesc& input, ElementType type) override {
    return cuda::make_reorder_to_plain(context_, input, type);
  }

  void dropout_mask(const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples,
                    std::uint8_t* mask) override {
    cuda::dropout_mask(context_, draw, ids, samples, mask);
  }
  void dropout_apply(const std::uint8_t* mask, std::int64_t count, float scale, ElementType type, const void* x,
                     void* y) override {
    cuda::dropout_apply(context_, mask, count, scale, type, x, y);
  }

  void cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                     float smoothing, float* gradient, LossSum* sum) override {
    cuda::cross_entropy(context_, loss_scratch_, logits, labels, samples, classes, smoothing, gradient, sum);
  }
  void mean_squared_error(const float* outputs, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                          float* gradient, LossSum* sum) override {
    cuda::mean_squared_error(context_, loss_scratch_, outputs, labels, samples, classes, gradient, sum);
  }

  void see_view(std::int64_t planes, const SeeView& view) override { cuda::see_view(context_, planes, view); }
  void add_view(std::int64_t count, const AddView& view) override { cuda::add_view(context_, count, view); }

 private:
  cuda::Context context_;
  Buffer loss_entries_;
  cuda::LossScratch loss_scratch_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> cuda_kernels_basis() {
  int runtime = 0;
  check(cudaRuntimeGetVersion(&runtime), "asking for CUDA's version");
  return {{"CUDA runtime", std::to_string(runtime)},
          {"cuDNN", std::to_string(cudnnGetVersion())},
          {"cuBLASLt", std::to_string(cublasLtGetVersion())}};
}

std::unique_ptr<Kernels> make_cuda_kernels(const CudaConfig& config) {
  cuda::use_device(config.device);
  return std::make_unique<CudaKernels>(config);
}

}  // namespace dptrain

#include <fmt/format.h>

#include <cstring>

#include "kernels/cpu/operations.h"

namespace dptrain {

namespace {

class CpuKernels final : public Kernels {
 public:
  Buffer allocate(std::size_t bytes) override { return Buffer::host(bytes); }
  void upload(const void* host, std::size_t bytes, void* device) override { std::memcpy(device, host, bytes); }
  void copy(const void* from, std::int64_t bytes, void* to) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }

  std::int64_t workspace_bytes() const override { return static_cast<std::int64_t>(context_.workspace_bytes()); }

  std::unique_ptr<AffineOperation> linear(const LinearConfig& config) override {
    return cpu::make_linear(context_, config);
  }
  std::unique_ptr<AffineOperation> convolution(const ConvolutionConfig& config) override {
    return cpu::make_convolution(context_, config);
  }
  std::unique_ptr<UnaryOperation> pool(const TensorDesc& input, const Pool2dSpec& spec,
                                       std::int64_t full_batch) override {
    return cpu::make_pool(context_, input, spec, full_batch);
  }
  std::unique_ptr<UnaryOperation> activation(const TensorDesc& input, const ActivationSpec& spec) override {
    return cpu::make_activation(context_, input, spec);
  }
  std::unique_ptr<UnaryOperation> softmax(const TensorDesc& input) override {
    return cpu::make_softmax(context_, input);
  }
  std::unique_ptr<NormOperation> norm(const NormConfig& config) override { return cpu::make_norm(config); }
  std::unique_ptr<AddOperation> add(const AddConfig& config) override { return cpu::make_add(config); }
  std::unique_ptr<UnaryOperation> reorder_to_plain(const TensorDesc& input, ElementType type) override {
    return cpu::make_reorder_to_plain(context_, input, type);
  }

  void dropout_mask(const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples,
                    std::uint8_t* mask) override {
    cpu::dropout_mask(draw, ids, samples, mask);
  }
  void dropout_apply(const std::uint8_t* mask, std::int64_t count, float scale, ElementType type, const void* x,
                     void* y) override {
    cpu::dropout_apply(mask, count, scale, type, x, y);
  }

  void cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                     float smoothing, float* gradient, LossSum* sum) override {
    *sum = cpu::cross_entropy(logits, labels, samples, classes, smoothing, gradient);
  }
  void mean_squared_error(const float* outputs, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                          float* gradient, LossSum* sum) override {
    *sum = cpu::mean_squared_error(outputs, labels, samples, classes, gradient);
  }

  void see_view(std::int64_t planes, const SeeView& view) override {
    for (std::int64_t row = 0; row < planes * view.height; ++row) {
      const float* from = view.from(row);
      for (std::int64_t column = 0; column < view.width; ++column)
        view.y[row * view.width + column] = view.pixel(from, column);
    }
  }
  void add_view(std::int64_t count, const AddView& view) override {
    for (std::int64_t i = 0; i < count; ++i) view(i);
  }

 private:
  cpu::Context context_;
};

}  // namespace

std::vector<std::pair<std::string, std::string>> cpu_kernels_basis() {
  const dnnl_version_t* v = dnnl_version();
  // The numbers of dnnl_cpu_isa_t: what the CPU has and ONEDNN_MAX_CPU_ISA allows.
  return {{"oneDNN", fmt::format("{}.{}.{}", v->major, v->minor, v->patch)},
          {"instruction set", fmt::format("{:#x}", static_cast<unsigned>(dnnl_get_effective_cpu_isa()))}};
}

std::string cpu_lacks(ElementType type) {
  if (type == ElementType::float32) return {};
  if (type == ElementType::float16) return "nothing on a CPU computes in fp16 here";
  const auto isa = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  constexpr auto kNeeded = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
  if ((isa & kNeeded) == kNeeded) return {};
  return fmt::format("this CPU has no bf16 instructions (avx512_bf16 or AMX) that oneDNN may use: it goes by {:#x}",
                     isa);
}

std::unique_ptr<Kernels> make_cpu_kernels() {
  return std::make_unique<CpuKernels>();
}

}  // namespace dptrain

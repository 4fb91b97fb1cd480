#include "kernels/cuda/parameter_copies.h"

#include "device/cuda/runtime.h"
#include "kernels/cuda/elementwise.h"

namespace dptrain::cuda {

namespace {

Buffer copy_of(std::int64_t count, ElementType type) {
  if (type == ElementType::float32 || count == 0) return {};
  return device_buffer(static_cast<std::size_t>(count * bytes_of(type)));
}

}  // namespace

ParameterCopies::ParameterCopies(const Context& context, const Sizes& sizes, ElementType weight_type,
                                 ElementType bias_type)
    : context_(context),
      sizes_(sizes),
      weight_type_(weight_type),
      bias_type_(bias_type),
      weight_(copy_of(sizes.weights, weight_type)),
      bias_(copy_of(sizes.biases, bias_type)) {}

void ParameterCopies::refresh(const float* weight, const float* bias, std::int64_t version) {
  if (bytes() == 0 || (weight == from_ && version == version_)) return;
  const auto copy = [&](const Buffer& to, std::int64_t count, const float* from, ElementType type) {
    if (to.size() > 0) convert(context_, count, ElementType::float32, from, type, to.data());
  };
  copy(weight_, sizes_.weights, weight, weight_type_);
  copy(bias_, sizes_.biases, bias, bias_type_);
  from_ = weight;
  version_ = version;
}

}  // namespace dptrain::cuda

// Purpose: makers of the CPU's operations, one file each. Thread safety: see primitive.h.
#pragma once

#include <memory>

#include "kernels/cpu/primitive.h"
#include "kernels/kernels.h"

namespace dptrain::cpu {

std::unique_ptr<AffineOperation> make_linear(Context& context, const LinearConfig& config);
std::unique_ptr<AffineOperation> make_convolution(Context& context, const ConvolutionConfig& config);
std::unique_ptr<UnaryOperation> make_pool(Context& context, const TensorDesc& input, const Pool2dSpec& spec,
                                          std::int64_t full_batch);
std::unique_ptr<UnaryOperation> make_activation(Context& context, const TensorDesc& input, const ActivationSpec& spec);
std::unique_ptr<UnaryOperation> make_softmax(Context& context, const TensorDesc& input);
std::unique_ptr<NormOperation> make_norm(const NormConfig& config);
std::unique_ptr<AddOperation> make_add(const AddConfig& config);
std::unique_ptr<UnaryOperation> make_reorder_to_plain(Context& context, const TensorDesc& input, ElementType type);

void dropout_mask(const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples, std::uint8_t* mask);
void dropout_apply(const std::uint8_t* mask, std::int64_t count, float scale, ElementType type, const void* x, void* y);

LossSum cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                      float smoothing, float* gradient);
LossSum mean_squared_error(const float* outputs, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                           float* gradient);

}  // namespace dptrain::cpu

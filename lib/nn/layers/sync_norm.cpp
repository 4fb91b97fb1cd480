#include "nn/layers/sync_norm.h"

#include "kernels/moments.h"

namespace dptrain {

SyncNorm::SyncNorm(const NormSpec& spec, const LayerContext& context) : Norm(spec, context), kernels_(context.kernels) {
  const std::size_t bytes = static_cast<std::size_t>(moments_floats(output().shape[0])) * sizeof(float);
  for (Buffer* buffer : {&moments_, &sums_, &own_sums_}) *buffer = kernels_.allocate(bytes);
}

void SyncNorm::forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) {
  if (pass.training)
    operation().forward_with(pass.slot, x, values(parameters), moments_.floats(), y);
  else
    Norm::forward(pass, parameters, x, y);
}

void SyncNorm::backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void*, void* dy,
                        void* dx) {
  operation().backward_with(pass.slot, x, values(parameters), {own_sums_.floats(), sums_.floats()}, dy, dx,
                            gradients(parameters));
  write_statistics(pass, parameters);
}

std::int64_t SyncNorm::floats() const {
  return moments_floats(output().shape[0]);
}

void SyncNorm::measure_forward(const Pass& pass, const void* x, float* part) {
  operation().measure(pass.slot, x, part);
}

void SyncNorm::measure_backward(const Pass& pass, const void* x, const void* dy, float* part) {
  operation().measure_gradient(pass.slot, x, dy, own_sums_.floats());
  kernels_.copy(own_sums_.data(), bytes(), part);
}

void SyncNorm::merge_forward(const float* a, const float* b, float* both) const {
  merge_moments(output().shape[0], a, b, both);
}

void SyncNorm::merge_backward(const float* a, const float* b, float* both) const {
  for (std::int64_t i = 0; i < floats(); ++i) both[i] = a[i] + b[i];
}

void SyncNorm::tell_forward(const float* whole) {
  kernels_.copy(whole, bytes(), moments_.data());
}

void SyncNorm::tell_backward(const float* whole) {
  kernels_.copy(whole, bytes(), sums_.data());
}

}  // namespace dptrain

#include "nn/layers/sync_norm.h"

#include <algorithm>

#include "kernels/moments.h"

namespace dptrain {

SyncNorm::SyncNorm(const NormSpec& spec, const LayerContext& context)
    : Norm(spec, context),
      moments_(static_cast<std::size_t>(moments_floats(output().shape[0]))),
      sums_(moments_.size()),
      own_sums_(moments_.size()) {}

void SyncNorm::forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) {
  if (pass.training)
    operation().forward_with(pass.slot, x, values(parameters), moments_.data(), y);
  else
    Norm::forward(pass, parameters, x, y);
}

void SyncNorm::backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void*, void* dy,
                        void* dx) {
  operation().backward_with(pass.slot, x, values(parameters), {own_sums_.data(), sums_.data()}, dy, dx,
                            gradients(parameters));
  write_statistics(pass, parameters);
}

std::int64_t SyncNorm::floats() const {
  return static_cast<std::int64_t>(moments_.size());
}

void SyncNorm::measure_forward(const Pass& pass, const void* x, float* part) {
  operation().measure(pass.slot, x, part);
}

void SyncNorm::measure_backward(const Pass& pass, const void* x, const void* dy, float* part) {
  operation().measure_gradient(pass.slot, x, dy, own_sums_.data());
  std::copy(own_sums_.begin(), own_sums_.end(), part);
}

void SyncNorm::merge_forward(const float* a, const float* b, float* both) const {
  merge_moments(output().shape[0], a, b, both);
}

void SyncNorm::merge_backward(const float* a, const float* b, float* both) const {
  for (std::size_t i = 0; i < sums_.size(); ++i) both[i] = a[i] + b[i];
}

void SyncNorm::tell_forward(const float* whole) {
  std::copy_n(whole, moments_.size(), moments_.data());
}

void SyncNorm::tell_backward(const float* whole) {
  std::copy_n(whole, sums_.size(), sums_.data());
}

}  // namespace dptrain

// Purpose: a batch_norm with `sync: true`: its statistics are those of all micro-batches of a step, as in PyTorch's
//   SyncBatchNorm.
// Thread safety: see layer.h. Invariants: what the step's statistics were is known until the next pass, so that forward
//   can run again in backward.
#pragma once

#include "nn/layers/norm.h"

namespace dptrain {

class SyncNorm final : public Norm, public StepSums {
 public:
  SyncNorm(const NormSpec& spec, const LayerContext& context);

  void forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) override;
  void backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void* y, void* dy,
                void* dx) override;
  StepSums* step_sums() override { return this; }

  std::int64_t floats() const override;
  void measure_forward(const Pass& pass, const void* x, float* part) override;
  void measure_backward(const Pass& pass, const void* x, const void* dy, float* part) override;
  void merge_forward(const float* a, const float* b, float* both) const override;
  void merge_backward(const float* a, const float* b, float* both) const override;
  void tell_forward(const float* whole) override;
  void tell_backward(const float* whole) override;

 private:
  std::int64_t bytes() const { return static_cast<std::int64_t>(moments_.size()); }

  Kernels& kernels_;
  // In the device's memory.
  Buffer moments_, sums_;  // of the step; sums are one float shorter, and the last is zero
  Buffer own_sums_;        // of the micro-batch: its gradients of the parameters
};

}  // namespace dptrain

// Purpose: batch_norm (Ioffe and Szegedy 2015), group_norm (Wu and He 2018), layer_norm (Ba et al. 2016). Thread
//   safety: see layer.h. Invariants: statistics are those of the micro-batch in training (but see sync_norm.h);
//   evaluation of a batch norm uses the running ones, which are parameters that the update moves.
#pragma once

#include "nn/layer.h"

namespace dptrain {

class Norm : public Layer {
 public:
  Norm(const NormSpec& spec, const LayerContext& context);

  const TensorDesc& output() const override { return tensor_; }
  /// weight, bias, running_mean, running_var, those that there are.
  std::vector<ParameterDesc> parameters() const override;
  void prepare(std::int64_t batch) override { operation_->prepare(batch); }
  void forward(const Pass& pass, const ParameterViews& parameters, const void* x, void* y) override;
  void backward(const Pass& pass, const ParameterViews& parameters, const void* x, const void* y, void* dy,
                void* dx) override;
  bool backward_reads_input() const override { return true; }
  bool backward_reads_output() const override { return false; }
  bool backward_in_place() const override { return true; }
  std::vector<std::string> implementations() const override { return operation_->implementations(); }

 protected:
  NormOperation& operation() { return *operation_; }
  NormParameters values(const ParameterViews& views) const;
  NormGradients gradients(const ParameterViews& views) const;
  /// What the step moves the running statistics towards, in the place of their gradients.
  void write_statistics(const Pass& pass, const ParameterViews& views);

 private:
  bool has_statistics() const { return spec_.kind == NormKind::batch; }

  NormSpec spec_;
  TensorDesc tensor_;
  std::unique_ptr<NormOperation> operation_;
};

}  // namespace dptrain

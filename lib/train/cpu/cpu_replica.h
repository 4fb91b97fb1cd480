// Purpose: a replica on CPU cores: the host's thread is the device's. See train/replica.h.
#pragma once

#include <memory>
#include <span>

#include "nn/model.h"
#include "train/replica.h"

namespace dptrain {

class CpuReplica final : public Replica {
 public:
  explicit CpuReplica(const Config& config);

  const ParameterTable& parameters() const override { return model_->parameters(); }
  void bind(const float* weights) override { model_->bind(weights); }
  const std::vector<float*>& gradients() const override { return gradient_views_; }
  Times run(std::int64_t step) override;
  int lag() const override { return 0; }
  void collect(std::int64_t step, std::vector<LossSum>& losses) override;
  bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) override;

 private:
  Config config_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  std::vector<Buffer> gradients_;
  std::vector<float*> gradient_views_;
  std::vector<LossSum> losses_;  // of the latest step, by micro-batch
  std::unique_ptr<Loader> loader_;
  std::int64_t chunk_;  // of evaluation
  std::vector<std::int64_t> chunk_ids_;
  std::vector<std::int32_t> chunk_labels_;
  Buffer chunk_samples_;
};

}  // namespace dptrain

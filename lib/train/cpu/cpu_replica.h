// Purpose: a replica on CPU cores: the host's thread is the device's. See train/replica.h.
// Thread safety: as there.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "nn/model.h"
#include "train/batch_names.h"
#include "train/cpu/lockstep.h"
#include "train/replica.h"

namespace dptrain {

class CpuReplica final : public Replica {
 public:
  explicit CpuReplica(const Config& config);

  const ParameterTable& parameters() const override { return model_->parameters(); }
  void bind(const float* weights) override;
  void bind_host(const float* weights) override { bind(weights); }
  const std::vector<float*>& gradients() const override { return gradient_views_; }
  Times run(const StepTask& task) override;
  Gradient gradient(const GradientTask& task) override;
  void assign(std::shared_ptr<const Assignment> assignment, std::int64_t step) override;
  double gradient_bound() const override { return bound_; }
  std::optional<NotFinite> diagnose(const StepTask& task) override;
  int lag() const override { return 0; }
  double collect(std::int64_t step, std::vector<LossSum>& losses) override;
  bool evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) override;

 private:
  struct OwnBatch {
    explicit OwnBatch(const Config& config);
    BatchNames names;
    std::vector<std::int64_t> ids;
    std::vector<std::int32_t> labels;
    Buffer samples;
  };
  const ReplicaProgram& program(std::int64_t step) const {
    return assignment_->plan(step).programs[static_cast<std::size_t>(config_.rank)];
  }
  void prepare_steps();
  Times run_one_by_one(const StepTask& task);
  Times run_in_lockstep(const StepTask& task);
  /// The samples of a micro-batch by itself that comes without them: in replays, whose order is not known ahead.
  Batch load(const GradientTask& task);
  LossSum train(const StepTask& task, bool first, const Batch& batch, float* gradient);

  Config config_;
  std::shared_ptr<const Assignment> assignment_;
  std::unique_ptr<Kernels> kernels_;
  std::unique_ptr<Model> model_;
  std::optional<Lockstep> lockstep_;  // where the model needs sums over all micro-batches of a step
  std::vector<Buffer> gradients_;
  std::vector<float*> gradient_views_;
  std::vector<LossSum> losses_;  // of the latest step, by micro-batch
  double bound_ = 0;             // of the latest step's gradients
  double busy_ = 0;              // seconds in the latest step
  std::int64_t evaluated_ = 0;   // counts down: versions of weights that no step has
  std::unique_ptr<Loader> loader_;
  std::optional<OwnBatch> own_;
  std::int64_t chunk_;  // of evaluation
  std::vector<std::int64_t> chunk_ids_;
  std::vector<std::int32_t> chunk_labels_;
  Buffer chunk_samples_;
};

}  // namespace dptrain

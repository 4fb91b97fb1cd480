#include "train/backend.h"

namespace dptrain {

ModelPlan plan_model(const JobSpec& job, Kernels& kernels, std::span<const std::int64_t> batches) {
  Model model(job.model, kernels, batches.front(), compute_type(job.train.precision));
  model.prepare(batches, job.evaluate.views);
  return {model.parameters(), model.activation_bytes(), model.copy_bytes()};
}

}  // namespace dptrain

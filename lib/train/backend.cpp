#include "train/backend.h"

namespace dptrain {

ModelPlan plan_model(const JobSpec& job, Kernels& kernels, std::span<const std::int64_t> batches) {
  Model model(job.model, kernels, batches.front(), compute_type(job.train.precision));
  model.prepare(batches);
  return {model.parameters(), model.activation_bytes(), model.copy_bytes()};
}

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                      Communicator& processes) {
  if (processes.alone()) return make_backend(job, placement);
  DPTRAIN_CHECK(placement.type == DeviceType::cpu, "GPUs and {} processes", processes.size());
  return make_cpu_backend(job, placement, schedule, processes);
}

}  // namespace dptrain

// The backends of a build with CUDA.
#include "train/backend.h"
#include "train/cuda/cuda_backend.h"

namespace dptrain {

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement) {
  if (placement.type == DeviceType::cpu) return make_cpu_backend(job);
  return make_cuda_backend(job, placement);
}

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                      Communicator& processes) {
  if (processes.alone()) return make_backend(job, placement);
  if (placement.type == DeviceType::cpu) return make_cpu_backend(job, placement, schedule, processes);
  return make_cuda_backend(job, placement, processes);
}

std::vector<std::pair<std::string, std::string>> device_basis(DeviceType type) {
  return type == DeviceType::cpu ? cpu_kernels_basis() : cuda_backend_basis();
}

}  // namespace dptrain

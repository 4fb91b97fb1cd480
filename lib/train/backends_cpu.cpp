// The backends of a build without CUDA.
#include "train/backend.h"

namespace dptrain {

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement&) {
  return make_cpu_backend(job);
}

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                      Communicator& processes) {
  return processes.alone() ? make_cpu_backend(job) : make_cpu_backend(job, placement, schedule, processes);
}

std::vector<std::pair<std::string, std::string>> device_basis(DeviceType) {
  return cpu_kernels_basis();
}

}  // namespace dptrain

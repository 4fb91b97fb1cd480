// The backends of a build without CUDA.
#include "train/backend.h"

namespace dptrain {

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement&) {
  return make_cpu_backend(job);
}

std::vector<std::pair<std::string, std::string>> device_basis(DeviceType) {
  return cpu_kernels_basis();
}

}  // namespace dptrain

// The backends of a build without CUDA.
#include "train/backend.h"

namespace dptrain {

std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement&) {
  return make_cpu_backend(job);
}

}  // namespace dptrain

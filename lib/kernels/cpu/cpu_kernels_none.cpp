// For builds without oneDNN.

#include "core/error.h"
#include "kernels/kernels.h"

namespace dptrain {

std::vector<std::pair<std::string, std::string>> cpu_kernels_basis() {
  return {};
}

std::string cpu_lacks(ElementType) {
  return "this build of dptrain has no CPU backend";
}

std::unique_ptr<Kernels> make_cpu_kernels() {
  fail(ExitStatus::usage,
       "this build of dptrain has no CPU backend (oneDNN was not there when it was built); run on GPUs: --gpus N, or "
       "build "
       "with oneDNN (libdnnl-dev)");
}

}  // namespace dptrain

#include "kernels/cuda/check.h"

#include "core/error.h"

namespace dptrain::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ExitStatus::failed, "{}: {} ({})", what, cudaGetErrorString(status), cudaGetErrorName(status));
}

}  // namespace dptrain::cuda

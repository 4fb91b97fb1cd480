#include "kernels/cuda/library_status.h"

#include <array>

#include "core/error.h"

namespace dptrain::cuda {

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail(ExitStatus::failed, "{}: cuBLASLt says {}", what, cublasLtGetStatusString(status));
}

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  std::array<char, 512> details{};  // of this thread's latest error; says which attribute or shape was refused
  cudnnGetLastErrorString(details.data(), details.size());
  details.back() = '\0';
  fail(ExitStatus::failed, "{}: cuDNN says {} {}", what, cudnnGetErrorString(status), details.data());
}

}  // namespace dptrain::cuda

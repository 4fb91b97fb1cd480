// Purpose: the status codes of cuBLASLt and cuDNN as the project's errors. Thread safety: any thread.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>

namespace dptrain::cuda {

/// Throws Error(failed) with `what` and the library's own words unless `status` is a success.
void check(cublasStatus_t status, const char* what);
void check(cudnnStatus_t status, const char* what);

}  // namespace dptrain::cuda

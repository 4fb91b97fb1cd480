// Purpose: CUDA's status codes as the project's errors. The header is kept free of the project's own, because fmt does not
//   pass through nvcc. Thread safety: any thread.
#pragma once

#include <cuda_runtime_api.h>

namespace dptrain::cuda {

/// Throws Error(failed) with `what` and CUDA's reason unless `status` is a success.
void check(cudaError_t status, const char* what);

}  // namespace dptrain::cuda

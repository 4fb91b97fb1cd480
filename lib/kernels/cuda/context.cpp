#include <cublasLt.h>
#include <cudnn.h>

#include <algorithm>

#include "device/cuda/runtime.h"
#include "kernels/cuda/engines.h"
#include "kernels/cuda/library_status.h"
#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

Context::Context(cudaStream_t on_stream, bool allow_tf32, bool same_bits)
    : stream(on_stream), tf32(allow_tf32), reproducible(same_bits) {
  try {
    check(cublasLtCreate(&blas), "cuBLASLt could not be opened");
    check(cudnnCreate(&dnn), "cuDNN could not be opened");
    check(cudnnSetStream(dnn, stream), "cuDNN could not be given its stream");
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "a GPU could not be asked for its memory");
    most_workspace = std::min(EngineRules{}.most_workspace, total / 16);
  } catch (...) {
    close();
    throw;
  }
}

Context::~Context() {
  close();
}

void Context::close() noexcept {
  if (dnn != nullptr) cudnnDestroy(dnn);
  if (blas != nullptr) cublasLtDestroy(blas);
}

void Context::require_workspace(std::size_t bytes) {
  if (workspace.size() < bytes) workspace = device_scratch(bytes);
}

}  // namespace dptrain::cuda

// Purpose: the GPU's table of operations: cuDNN and cuBLASLt for convolutions and products, kernels of our own for the
//   rest.
// Thread safety: see kernels.h. Invariants: operations enqueue on the stream and never wait, except prepare(),
//   allocate() and upload(); nothing is allocated after prepare(), so a step can be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "kernels/kernels.h"
#include "kernels/loss_scale.h"

namespace dptrain {

struct CudaConfig {
  int device = 0;
  cudaStream_t stream = nullptr;  ///< of that device; outlives the kernels
  bool tf32 = false;              ///< products and convolutions may round their inputs to TF32
  bool reproducible = true;       ///< only what gives the same bits in every run
  /// In the device's memory: what losses multiply their gradients by. Null: nothing.
  const LossScale* loss_scale = nullptr;
};

/// Makes the device the thread's current one. Errors: Error(failed) with CUDA's or the library's reason.
std::unique_ptr<Kernels> make_cuda_kernels(const CudaConfig& config);

/// What the bits of the GPU's operations rest on besides the GPU: "CUDA runtime", "cuDNN", "cuBLASLt", with the
/// versions that are loaded, as they count them. Errors: Error(failed).
std::vector<std::pair<std::string, std::string>> cuda_kernels_basis();

}  // namespace dptrain

// Purpose: one optimizer step over flat buffers in the memory of a GPU; the same scalar functors as on the CPU, so the same
//   bits (the build keeps contraction off on both).
// Thread safety: any host thread; work is ordered by the stream. Invariants: an element's result depends on that element
//   alone. The host does not wait.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "kernels/update_rules.h"

namespace dptrain::cuda {

/// Device pointers of `count` floats each; state buffers that the rule does not use may be null.
/// Errors: Error(failed) with CUDA's reason where the launch is refused.
void apply_update(const UpdateRule& rule, std::size_t count, float* parameters, const float* gradients, float* state0,
                  float* state1, cudaStream_t stream);

}  // namespace dptrain::cuda

// Purpose: core/magnitude.h on a GPU. Thread safety, invariants and errors: as kernels/cuda/update.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace dptrain::cuda {

/// Floats of scratch that largest_magnitude() needs.
constexpr std::int64_t kMagnitudeScratch = 32768 + 256;

/// *largest becomes the largest magnitude of so many floats, infinity where one is infinite or not a number.
void largest_magnitude(const float* values, std::int64_t count, float* scratch, float* largest, cudaStream_t stream);

}  // namespace dptrain::cuda

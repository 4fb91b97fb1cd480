// Purpose: a GPU that is slow on purpose, for drills: work between the two takes as many times as long as it is told.
// Thread safety, invariants and errors: as kernels/cuda/update.h.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace dptrain::cuda {

/// *began = the device's time.
void stamp(std::uint64_t* began, cudaStream_t stream);
/// Lasts (factor - 1) times as long as it is since *began; factor is at least 1.
void linger(const std::uint64_t* began, double factor, cudaStream_t stream);

}  // namespace dptrain::cuda

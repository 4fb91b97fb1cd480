// Purpose: the table of update ranges in a GPU's memory. Thread safety: as CUDA's calls; the current device's memory.
#pragma once

#include "device/cuda/runtime.h"
#include "kernels/cuda/update.h"

namespace dptrain {

/// The blocks of a flat buffer of `floats`; an empty buffer where all parts of it are updated alike. Returns when it is
/// there.
Buffer upload_blocks(const UpdateRanges& ranges, std::int64_t floats);

/// Those from float `first` on, which begins a block; null for an empty buffer.
cuda::Blocks blocks_at(const Buffer& blocks, std::int64_t first);

}  // namespace dptrain

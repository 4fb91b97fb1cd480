// Purpose: dropout's masks and their use in a GPU's memory; the masks are the CPU's, to the bit.
// Thread safety, invariants and errors: as in elementwise.h. See Kernels for what the functions do.
#pragma once

#include <cstdint>

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

void dropout_mask(const Context& context, const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples,
                  std::uint8_t* mask);
void dropout_apply(const Context& context, const std::uint8_t* mask, std::int64_t count, float scale, ElementType type,
                   const void* x, void* y);

}  // namespace dptrain::cuda

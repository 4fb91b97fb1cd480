// Purpose: sums over the rows of a matrix, which are gradients of biases.
// Thread safety, invariants and errors: as in elementwise.h; sums are over the spans of RowCut, in order.
#pragma once

#include "kernels/cuda/operations.h"

namespace dptrain::cuda {

/// sums[c] = sum over r of matrix[r, c]. `scratch` has sum_rows_scratch_bytes(type, rows, columns), the most of all
/// matrices of those columns that it is used for, on one stream. It is zero before its first use, and nobody else
/// writes it.
void sum_rows(const Context& context, ElementType type, const void* matrix, std::int64_t rows, std::int64_t columns,
              void* scratch, float* sums);
std::int64_t sum_rows_scratch_bytes(ElementType type, std::int64_t rows, std::int64_t columns);

}  // namespace dptrain::cuda

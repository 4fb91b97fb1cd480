// Purpose: the nearest thing to an orthogonal matrix that a few products give, for Muon (Jordan et al., "Muon: an
//   optimizer for hidden layers in neural networks", 2024).
// Thread safety: a pure function of its arguments; products use the calling thread's number of OpenMP threads.
#pragma once

#include <cstdint>

namespace dptrain {

/// How many floats orthogonalise() wants beside a matrix.
std::int64_t orthogonalise_scratch(std::int64_t rows, std::int64_t columns);

/// Brings the singular values of a matrix (rows, columns), row after row, near to 1 in place: divides it by its norm,
/// which is taken as `epsilon` where it is less, and iterates X <- a X + (b G + c G^2) X with G = X X^T (Newton and
/// Schulz's way with Jordan's coefficients; on the transposed matrix where there are more rows than columns). In fp32:
/// 4 m^2 n + 2 m^3 multiplications and additions an iteration, m and n the shorter and the longer side. `scratch` must
/// not overlap it.
void orthogonalise(std::int64_t rows, std::int64_t columns, int iterations, float epsilon, float* matrix,
                   float* scratch);

}  // namespace dptrain

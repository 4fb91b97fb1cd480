// Purpose: a product of matrices for what is no layer. Thread safety: the calling thread's number of OpenMP threads.
#pragma once

#include <cstdint>

namespace dptrain {

/// c (m, n) = alpha op(a) op(b) + beta c, all row after row with these distances between rows; op(a) is (m, k), op(b)
/// (k, n), transposed where it says so. The matrices must not overlap.
void sgemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
           const float* a, std::int64_t row_a, const float* b, std::int64_t row_b, float beta, float* c,
           std::int64_t row_c);

}  // namespace dptrain

// For builds without oneDNN, which cannot train: slow.
#include "kernels/cpu/sgemm.h"

namespace dptrain {

void sgemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
           const float* a, std::int64_t row_a, const float* b, std::int64_t row_b, float beta, float* c,
           std::int64_t row_c) {
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t l = 0; l < k; ++l)
        sum +=
            (transpose_a ? a[l * row_a + i] : a[i * row_a + l]) * (transpose_b ? b[j * row_b + l] : b[l * row_b + j]);
      c[i * row_c + j] = alpha * sum + (beta == 0 ? 0.0f : beta * c[i * row_c + j]);
    }
  }
}

}  // namespace dptrain

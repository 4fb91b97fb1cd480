#include <oneapi/dnnl/dnnl.hpp>

#include "core/error.h"
#include "kernels/cpu/sgemm.h"

namespace dptrain {

void sgemm(bool transpose_a, bool transpose_b, std::int64_t m, std::int64_t n, std::int64_t k, float alpha,
           const float* a, std::int64_t row_a, const float* b, std::int64_t row_b, float beta, float* c,
           std::int64_t row_c) {
  const dnnl::status status =
      dnnl::sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, alpha, a, row_a, b, row_b, beta, c, row_c);
  if (status != dnnl::status::success)
    fail(ExitStatus::failed, "oneDNN could not multiply ({}, {}) by ({}, {}): status {}", m, k, k, n,
         static_cast<int>(status));
}

}  // namespace dptrain

// Purpose: the loops that all normalisations are made of, over rows of neighbouring lanes (channels, or features).
// Thread safety: pure functions of their arguments.
// Invariants: each lane is computed on its own, in the order of the rows, by the same operations wherever it lies among the
//   lanes; what is padding (zero in, zero coefficients) stays zero.
#pragma once

#include <cstdint>

namespace dptrain::cpu {

/// (rows, lanes), row-major.
struct Rows {
  std::int64_t rows = 0, lanes = 0;
  std::int64_t floats() const { return rows * lanes; }
};

/// Of each lane the mean of its rows, and the sum of the squared distances to it.
void moments(const Rows& shape, const float* x, float* mean, float* squares);

/// y = x * scale + shift of its lane; where `relu`, what is below zero becomes zero. In place or not.
struct Scaling {
  const float *scale, *shift;
  bool relu;
};
void scale_rows(const Rows& shape, const float* x, const Scaling& by, float* y);

/// Of each lane the sums over its rows of dy and of dy * (x - mean). Here and below dy counts as zero where the ReLU of
/// `forward` gave zero.
void sum_gradients(const Rows& shape, const float* x, const float* dy, const Scaling& forward, const float* mean,
                   float* sums, float* products);

/// dx = dy * slope + ((x - mean) * curve + offset). In place or not.
struct GradientLine {
  const float *slope, *curve, *offset;
};
void gradient_rows(const Rows& shape, const float* x, const float* dy, const Scaling& forward, const float* mean,
                   const GradientLine& line, float* dx);

}  // namespace dptrain::cpu

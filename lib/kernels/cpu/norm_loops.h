// Purpose: the loops that all normalisations are made of, over rows of neighbouring lanes (channels, or features).
// Thread safety: pure functions of their arguments.
//   Tensors are floats or BFloat16s, everything else is floats.
// Invariants: each lane is computed on its own, in the order of the rows, by the same operations wherever it lies among
//   the lanes; what is padding (zero in, zero coefficients) stays zero.
#pragma once

#include <cstdint>

namespace dptrain::cpu {

/// (rows, lanes), row-major.
struct Rows {
  std::int64_t rows = 0, lanes = 0;
  std::int64_t places() const { return rows * lanes; }
};

/// Of each lane the mean of its rows, and the sum of the squared distances to it.
template <class Element>
void moments(const Rows& shape, const Element* x, float* mean, float* squares);

/// y = x * scale + shift of its lane; where `relu`, what is below zero becomes zero. In place or not.
struct Scaling {
  const float *scale, *shift;
  bool relu;
};
template <class Element>
void scale_rows(const Rows& shape, const Element* x, const Scaling& by, Element* y);

/// Of each lane the sums over its rows of dy and of dy * (x - mean). Here and below dy counts as zero where the ReLU of
/// `forward` gave zero.
template <class Element>
void sum_gradients(const Rows& shape, const Element* x, const Element* dy, const Scaling& forward, const float* mean,
                   float* sums, float* products);

/// dx = dy * slope + ((x - mean) * curve + offset). In place or not.
struct GradientLine {
  const float *slope, *curve, *offset;
};
template <class Element>
void gradient_rows(const Rows& shape, const Element* x, const Element* dy, const Scaling& forward, const float* mean,
                   const GradientLine& line, Element* dx);

}  // namespace dptrain::cpu

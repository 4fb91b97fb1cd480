// Purpose: what batch norm's kernels over rows of channels have in common, forward and backward. For .cu files alone.
//   Thread safety: pure functions.
#pragma once

#include "core/host_device.h"
#include "kernels/cuda/norm_rows.h"
#include "kernels/cuda/vectors.h"

namespace dptrain::cuda {

/// A Pair in memory that a group shares: nothing constructs it.
struct Kept {
  float first, second;
  DPTRAIN_HD Kept& operator=(const Pair& pair) {
    first = pair.first;
    second = pair.second;
    return *this;
  }
  DPTRAIN_HD operator Pair() const { return {first, second}; }
};

/// entry(first) + entry(first + stride) + ..., those before `last`, in that order.
template <class Entry>
DPTRAIN_HD inline Pair added(int first, int last, int stride, const Entry& entry) {
  Pair all;
  for (int k = first; k < last; k += stride) {
    const Pair one = entry(k);
    all.first += one.first;
    all.second += one.second;
  }
  return all;
}

/// What the elements of a vector are normalised with.
template <int width>
struct Columns {
  Pair statistics[width];
  float weight[width], bias[width];

  DPTRAIN_HD void load_parameters(const NormForward& f, std::int64_t channel) {
    DPTRAIN_UNROLLED
    for (int v = 0; v < width; ++v) {
      weight[v] = f.weight == nullptr ? 1.0f : f.weight[channel + v];
      bias[v] = f.bias == nullptr ? 0.0f : f.bias[channel + v];
    }
  }
  DPTRAIN_HD float normal(int v, float x) const { return (x - statistics[v].first) * statistics[v].second; }
  DPTRAIN_HD float value(int v, float normal) const { return normal * weight[v] + bias[v]; }
};

inline RowCut cut_of(const NormShape& shape, int width) {
  return {shape.samples * shape.pixels, shape.channels, width, static_cast<int>(bytes_of(shape.type))};
}

}  // namespace dptrain::cuda

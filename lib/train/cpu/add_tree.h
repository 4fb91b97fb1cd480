// Purpose: the additions of a CombineProgram over one chunk of the buffers. Thread safety: a pure function.
#pragma once

#include <cstdint>

#include "train/reduction_tree.h"

namespace dptrain {

inline constexpr int kDeepestTree = 32;  // more than the logarithm of any number of micro-batches

/// `leaf(l)` is where the chunk's `count` floats of leaf l are, count <= chunk. `scratch` has room for kDeepestTree
/// chunks. Returns where the sum is: in there, or the one leaf itself.
template <class Leaf>
const float* add_tree(const CombineProgram& program, Leaf&& leaf, std::int64_t count, std::int64_t chunk,
                      float* scratch) {
  const float* stack[kDeepestTree];
  int height = 0;
  for (const int item : program.postfix) {
    if (item != CombineProgram::kAdd) {
      stack[height++] = leaf(program.leaves[static_cast<std::size_t>(item)]);
      continue;
    }
    --height;
    const float *left = stack[height - 1], *right = stack[height];
    float* sum = scratch + (height - 1) * chunk;  // each height has a place of its own
    for (std::int64_t i = 0; i < count; ++i) sum[i] = left[i] + right[i];
    stack[height - 1] = sum;
  }
  return stack[0];
}

}  // namespace dptrain

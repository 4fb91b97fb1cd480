#include "train/step_merge.h"

#include <algorithm>

#include "train/reduction_tree.h"

namespace dptrain {

StepMerge::StepMerge(StepExchange& exchange, int rank, std::int64_t floats, std::size_t micro_batches)
    : exchange_(exchange), rank_(rank) {
  for (; micro_batches > 0; micro_batches /= 2) scratch_.emplace_back(static_cast<std::size_t>(floats));
}

void StepMerge::merge(const Model& model, int piece, int micro_batches, float* whole) {
  merge(model, piece, 0, micro_batches, whole, 0);
}

void StepMerge::merge(const Model& model, int piece, int first, int last, float* out, std::size_t level) {
  if (last - first == 1) {
    std::copy_n(exchange_.of(rank_, first), model.measured_floats(piece), out);
    return;
  }
  const int mid = tree_split(first, last);
  float* right = scratch_[level].data();
  merge(model, piece, first, mid, out, level);
  merge(model, piece, mid, last, right, level + 1);
  model.merge(piece, out, right, out);
}

}  // namespace dptrain

// Purpose: what a piece of a model has measured on the micro-batches of a step, merged in the order of the tree, as all
//   replicas do it for themselves. Thread safety: one user. Invariants: nothing is allocated after construction.
#pragma once

#include <vector>

#include "nn/model.h"
#include "train/step_exchange.h"

namespace dptrain {

class StepMerge {
 public:
  /// For steps of at most so many micro-batches. The exchange outlives it.
  StepMerge(StepExchange& exchange, int rank, std::int64_t floats, std::size_t micro_batches);

  /// Of the latest meeting, behind `piece`.
  void merge(const Model& model, int piece, int micro_batches, float* whole);

 private:
  void merge(const Model& model, int piece, int first, int last, float* out, std::size_t level);

  StepExchange& exchange_;
  int rank_;
  std::vector<std::vector<float>> scratch_;  // by level of the tree
};

}  // namespace dptrain

// Purpose: the end of a step on a GPU for optimizers that look at whole tensors: LARS and LAMB, whose steps are in
//   proportion to norms, and Muon, which makes the directions of matrices orthogonal. The squares of pieces of tensors
//   are measured, added up, and the tensors updated by what they come to.
// Thread safety and errors: as kernels/cuda/update.h. Invariants: pieces are measured, and their squares added up, in
//   double and in a fixed order that depends on the tensors alone, so that every GPU that has the gradients comes to
//   the same bits.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/update.h"

namespace dptrain::cuda {

/// The floats that are measured together, all of one tensor.
struct TensorPiece {
  static constexpr std::int64_t kFloats = 1024;
  /// Each measures every so manieth of them: neighbours of a piece are read side by side.
  static constexpr std::int64_t kLanes = 32;
  std::int64_t first = 0;  ///< in the flat buffer
  std::int32_t count = 0;
  bool is_matrix = false;  ///< of Muon's
};

/// Entries of a table of squares that are added up, in order.
struct SquaresRange {
  std::int64_t first = 0, count = 0;
};

/// What an update of tensors reads and changes, in the device's memory. `flat.blocks` has the treatment of each tensor.
struct TensorPass {
  Target flat;
  float* gradients = nullptr;             ///< means; Muon's directions take the place of those of matrices
  const float* clip_factor = nullptr;     ///< null: none
  const std::int32_t* tensors = nullptr;  ///< by block of kUpdateBlock floats: which tensor it is of
};

/// lanes[p * kLanes + l]: the squares of every kLanes-th float of piece p from its l-th on. LAMB's running means go on
/// here, and Muon's momentum.
void measure_pieces(RuleKind kind, const StepConstants* step, const TensorPass& pass, const TensorPiece* pieces,
                    std::int64_t count, TensorSquares* lanes, cudaStream_t stream);
/// to[k] = the sum of from's entries in ranges[k].
void add_squares(const TensorSquares* from, const SquaresRange* ranges, std::int64_t count, TensorSquares* to,
                 cudaStream_t stream);
/// factors[t]: what tensor t's update is multiplied by (LARS, LAMB), or its direction divided by (Muon).
void tensor_factors(RuleKind kind, const StepConstants* step, const TensorSquares* squares, std::int64_t count,
                    float* factors, cudaStream_t stream);
/// Updates `count` floats from the first on, but for Muon's matrices.
void update_tensors(RuleKind kind, const StepConstants* step, const TensorPass& pass, const float* factors,
                    std::int64_t count, cudaStream_t stream);

/// to[i] = from[i] / *divisor.
void divide(const float* from, const float* divisor, std::int64_t count, float* to, cudaStream_t stream);
/// MuonRule::step_matrix() for each element, unless `scale` says that the step does not apply.
void step_matrix(const StepConstants* step, const LossScale* scale, float step_scale, const float* direction,
                 std::int64_t count, float* parameters, cudaStream_t stream);

}  // namespace dptrain::cuda

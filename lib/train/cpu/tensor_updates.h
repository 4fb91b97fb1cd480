// Purpose: the updates that need whole tensors, on the CPU: LARS and LAMB, whose steps are in proportion to norms, and
//   Muon, which makes the directions of matrices orthogonal. In two phases, between which the replicas meet.
// Thread safety: each replica calls for its own chunks and its own rank; both phases write disjoint memory.
// Invariants: sums run over fixed parts of the tensors in index order, and a matrix is worked on by one replica alone,
//   so no bit depends on who does what. Nothing is allocated after construction.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "device/buffer.h"
#include "kernels/cpu/tensor_update.h"
#include "kernels/update_ranges.h"
#include "nn/parameters.h"
#include "train/micro_batches.h"

namespace dptrain {

class TensorUpdates {
 public:
  /// The flat buffers; the gradients are means, clipped where they shall be. `state` and `average` may be null.
  struct Flat {
    float *parameters = nullptr, *gradients = nullptr, *state0 = nullptr, *state1 = nullptr, *average = nullptr;
  };

  /// For `replicas`, on a flat buffer of `floats` in chunks of `chunk`; the plan has tensors. `memory` is where what
  /// they tell each other lies.
  TensorUpdates(const UpdatePlan& plan, std::int64_t floats, std::int64_t chunk, int replicas,
                const std::function<Buffer(std::size_t bytes)>& memory = &Buffer::host);

  /// The first phase of one chunk: what needs no norm is updated; norms are measured; of matrices the direction takes
  /// the gradient's place.
  void begin(const StepUpdate& update, int chunk, const Flat& flat);
  /// The second phase, once all chunks have been through the first: a replica's chunks, and its share of the matrices,
  /// whose canonical form is `table`'s.
  void finish(const StepUpdate& update, int rank, Range chunks, const Flat& flat, const ParameterTable* table);

 private:
  struct Part {  // of a tensor, in one chunk
    std::size_t tensor = 0;
    std::int64_t first = 0, count = 0;
  };
  struct Share {  // of the matrices
    std::vector<UpdateMatrix> matrices;
    Buffer matrix, scratch;
  };

  void share_out(const std::vector<UpdateMatrix>& matrices);
  TensorSquares squares_of(std::size_t tensor) const;
  void finish_matrix(const StepUpdate& update, const UpdateMatrix& matrix, Share& share, const Flat& flat,
                     const ParameterTable& table) const;

  UpdateRanges tensors_;
  std::vector<Part> parts_;                // in order
  std::vector<std::size_t> chunk_parts_;   // by chunk: its first part, and the end after the last
  std::vector<std::size_t> tensor_parts_;  // by tensor, likewise
  Buffer squares_memory_;
  std::span<TensorSquares> squares_;  // by part
  std::vector<Share> shares_;         // by rank
};

/// The moving average follows the parameters.
void follow(const AverageRule& rule, float* average, const float* parameters, std::int64_t count);

}  // namespace dptrain

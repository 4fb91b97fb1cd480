// Purpose: the updates that need whole tensors, on one GPU: LARS, LAMB and Muon, over the whole flat buffer. See
//   train/cpu/tensor_updates.h for the CPU's. Where replicas have GPUs of their own each of them does all of it: norms
//   and orthogonal directions then need no further traffic.
// Thread safety: the thread that enqueues on its stream. Invariants: nothing is allocated after construction, and the
//   host does not wait; the same gradients give the same bits, whoever computes.
#pragma once

#include <cstdint>
#include <vector>

#include "device/cuda/runtime.h"
#include "kernels/cuda/orthogonalise.h"
#include "kernels/cuda/tensor_update.h"
#include "kernels/update_ranges.h"

namespace dptrain {

class CudaTensorUpdates {
 public:
  /// On the current device, for work on `stream`; the plan has tensors.
  CudaTensorUpdates(const UpdatePlan& plan, std::int64_t floats, cudaStream_t stream, bool reproducible);

  /// Puts an update in line by `rule`, whose constants are in `step`. `gradients` are means, of which those of matrices
  /// are overwritten; each that is trained is multiplied by *clip_factor where that is not null. `flat.blocks` is not
  /// read.
  void enqueue(const UpdateRule& rule, const cuda::StepConstants* step, const float* clip_factor, float* gradients,
               cuda::Target flat);

 private:
  /// A table of squares from the one before it.
  struct Level {
    Buffer ranges, squares;
    std::int64_t count = 0;
  };
  void measure(const UpdateRanges& tensors);
  void enqueue_matrix(const UpdateMatrix& matrix, const MuonRule& rule, const cuda::StepConstants* step,
                      const float* directions, const cuda::Target& flat);

  std::int64_t floats_;
  cudaStream_t stream_;
  std::vector<UpdateMatrix> matrices_;
  Buffer blocks_;   // the treatment of each tensor, by block of the flat buffer
  Buffer tensors_;  // which tensor a block is of
  Buffer pieces_, lanes_;
  std::int64_t piece_count_ = 0;
  std::vector<Level> levels_;  // the last has an entry a tensor
  Buffer factors_;             // by tensor
  cuda::Orthogonaliser orthogonaliser_;
};

}  // namespace dptrain

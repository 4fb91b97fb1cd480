// Purpose: kernels/cpu/orthogonalise.h on a GPU: a few products bring the singular values of a matrix near to 1, for
//   Muon.
// Thread safety: the thread that enqueues on its stream. Invariants: nothing is allocated after prepare(), and the host
//   does not wait; the same matrix gives the same bits where it was made reproducible. Products are in fp32, not in
//   TF32.
#pragma once

#include <map>
#include <utility>

#include "kernels/cuda/operations.h"
#include "kernels/cuda/product.h"

namespace dptrain::cuda {

class Orthogonaliser {
 public:
  /// On the current device, for work on `stream`. Errors: Error(failed) with the library's reason.
  Orthogonaliser(cudaStream_t stream, bool reproducible) : context_(stream, /*tf32=*/false, reproducible) {}

  /// For matrices (rows, columns), row after row.
  void prepare(std::int64_t rows, std::int64_t columns);
  /// Where run() expects the next matrix, divided by its norm.
  float* matrix() const { return matrices_[0].floats(); }
  /// X <- a X + (b G + c G^2) X, `iterations` times. Returns where the result lies, until the next matrix is written.
  const float* run(std::int64_t rows, std::int64_t columns, int iterations);

 private:
  struct Products {
    Product gram, square, apply;
  };
  Product required(const ProductShape& shape);

  Context context_;
  std::map<std::pair<std::int64_t, std::int64_t>, Products> products_;
  Buffer matrices_[2], gram_, polynomial_;
};

}  // namespace dptrain::cuda

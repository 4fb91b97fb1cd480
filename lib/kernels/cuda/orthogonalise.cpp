#include "kernels/cuda/orthogonalise.h"

#include <algorithm>

#include "core/error.h"
#include "device/cuda/runtime.h"

namespace dptrain::cuda {

Product Orthogonaliser::required(const ProductShape& shape) {
  std::optional<Product> product = Product::prepare(context_, shape, Product::Epilogue::none);
  if (!product) {
    fail(ExitStatus::failed, "cuBLASLt knows no algorithm for a product of {} x {} by {} x {}", shape.rows, shape.depth,
         shape.depth, shape.columns);
  }
  return std::move(*product);
}

/// In cuBLASLt's terms, where all is column-major, the matrix is (columns, rows); G and its polynomial are symmetric.
void Orthogonaliser::prepare(std::int64_t rows, std::int64_t columns) {
  if (products_.contains({rows, columns})) return;
  const std::int64_t side = std::min(rows, columns);
  const bool tall = rows > columns;
  const ProductShape gram =
      tall ? ProductShape{columns, columns, rows, false, true} : ProductShape{rows, rows, columns, true, false};
  products_.emplace(std::pair(rows, columns), Products{.gram = required(gram),
                                                       .square = required({side, side, side, false, false}),
                                                       .apply = required({columns, rows, side, false, false})});
  for (Buffer& matrix : matrices_) grow(matrix, rows * columns * bytes_of(ElementType::float32));
  grow(gram_, side * side * bytes_of(ElementType::float32));
  grow(polynomial_, side * side * bytes_of(ElementType::float32));
}

const float* Orthogonaliser::run(std::int64_t rows, std::int64_t columns, int iterations) {
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  Products& products = products_.at({rows, columns});
  const bool tall = rows > columns;
  float *matrix = matrices_[0].floats(), *next = matrices_[1].floats();
  float *gram = gram_.floats(), *polynomial = polynomial_.floats();
  for (int k = 0; k < iterations; ++k) {
    products.gram.run(matrix, matrix, nullptr, gram);
    products.square.run_onto(kC, gram, gram, kB, gram, polynomial);
    products.apply.run_onto(1, tall ? polynomial : matrix, tall ? matrix : polynomial, kA, matrix, next);
    std::swap(matrix, next);
  }
  return matrix;
}

}  // namespace dptrain::cuda

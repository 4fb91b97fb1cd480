#include "kernels/cpu/orthogonalise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/sgemm.h"

namespace dptrain {

std::int64_t orthogonalise_scratch(std::int64_t rows, std::int64_t columns) {
  const std::int64_t side = std::min(rows, columns);
  return 2 * side * side + rows * columns;
}

void orthogonalise(std::int64_t rows, std::int64_t columns, int iterations, float epsilon, float* matrix,
                   float* scratch) {
  constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
  const std::int64_t side = std::min(rows, columns), count = rows * columns;
  float *gram = scratch, *polynomial = gram + side * side, *before = polynomial + side * side;
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) squares += static_cast<double>(matrix[i]) * static_cast<double>(matrix[i]);
  const float norm = std::max(static_cast<float>(std::sqrt(squares)), epsilon);
  for (std::int64_t i = 0; i < count; ++i) matrix[i] = matrix[i] / norm;
  const bool tall = rows > columns;
  for (int k = 0; k < iterations; ++k) {
    const bool left = tall, right = !tall;
    sgemm(left, right, side, side, tall ? rows : columns, 1, matrix, columns, matrix, columns, 0, gram, side);
    std::memcpy(polynomial, gram, static_cast<std::size_t>(side * side) * sizeof(float));
    sgemm(false, false, side, side, side, kC, gram, side, gram, side, kB, polynomial, side);
    std::memcpy(before, matrix, static_cast<std::size_t>(count) * sizeof(float));
    if (tall) {
      sgemm(false, false, rows, columns, side, 1, before, columns, polynomial, side, kA, matrix, columns);
    } else {
      sgemm(false, false, rows, columns, side, 1, polynomial, side, before, columns, kA, matrix, columns);
    }
  }
}

}  // namespace dptrain

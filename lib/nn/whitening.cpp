#include "nn/whitening.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "core/error.h"

namespace dptrain {

namespace {

/// Added to an eigenvalue, so that directions that hardly occur are not blown up; as in Jordan 2024.
constexpr double kEpsilon = 5e-4;

/// Eigenvalues on the diagonal of `a`, eigenvectors in the columns of `v`, by cyclic Jacobi rotations (Golub and Van
/// Loan, Matrix Computations, 4th ed., section 8.5). Our own, so that the bits depend on no library's version or
/// threads.
void diagonalise(std::vector<double>& a, std::vector<double>& v, std::size_t n) {
  std::fill(v.begin(), v.end(), 0.0);
  for (std::size_t i = 0; i < n; ++i) v[i * n + i] = 1.0;
  const auto rotate = [n](std::vector<double>& m, std::size_t i, std::size_t j, std::size_t k, std::size_t l, double c,
                          double s) {
    const double x = m[i * n + j], y = m[k * n + l];
    m[i * n + j] = c * x - s * y;
    m[k * n + l] = s * x + c * y;
  };
  constexpr int kSweeps = 60;  // converges quadratically: ten are many
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double off = 0, all = 0;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) (i == j ? all : off) += a[i * n + j] * a[i * n + j];
    }
    if (off <= 1e-28 * all) return;
    for (std::size_t p = 0; p + 1 < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) {
        const double apq = a[p * n + q];
        if (apq == 0) continue;
        const double tau = (a[q * n + q] - a[p * n + p]) / (2 * apq);
        const double t = (tau >= 0 ? 1.0 : -1.0) / (std::abs(tau) + std::sqrt(1 + tau * tau));
        const double c = 1 / std::sqrt(1 + t * t), s = t * c;
        for (std::size_t k = 0; k < n; ++k) rotate(a, k, p, k, q, c, s);
        for (std::size_t k = 0; k < n; ++k) rotate(a, p, k, q, k, c, s);
        for (std::size_t k = 0; k < n; ++k) rotate(v, k, p, k, q, c, s);
      }
    }
  }
}

}  // namespace

PatchWhitening::PatchWhitening(const Shape& image, std::int64_t height, std::int64_t width)
    : image_(image),
      height_(height),
      width_(width),
      size_(image[0] * height * width),
      moments_(static_cast<std::size_t>(size_ * size_)),
      patch_(static_cast<std::size_t>(size_)) {
  DPTRAIN_CHECK(height <= image[1] && width <= image[2], "patches of {}x{} of an image of {}", height, width,
                image.text());
}

std::int64_t PatchWhitening::patches_per_image() const {
  return (image_[1] - height_ + 1) * (image_[2] - width_ + 1);
}

void PatchWhitening::add(const float* image) {
  const std::int64_t rows = image_[1], columns = image_[2];
  for (std::int64_t y = 0; y + height_ <= rows; ++y) {
    for (std::int64_t x = 0; x + width_ <= columns; ++x) {
      float* to = patch_.data();
      for (std::int64_t c = 0; c < image_[0]; ++c) {
        for (std::int64_t i = 0; i < height_; ++i)
          to = std::copy_n(image + (c * rows + y + i) * columns + x, width_, to);
      }
      for (std::int64_t i = 0; i < size_; ++i) {
        const double value = patch_[static_cast<std::size_t>(i)];
        double* row = moments_.data() + i * size_;
        for (std::int64_t j = i; j < size_; ++j)
          row[j] += value * static_cast<double>(patch_[static_cast<std::size_t>(j)]);
      }
    }
  }
  patches_ += patches_per_image();
}

std::vector<float> PatchWhitening::filters() const {
  DPTRAIN_CHECK(patches_ > 0, "no images to whiten");
  const auto n = static_cast<std::size_t>(size_);
  std::vector<double> a(n * n), v(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = i; j < n; ++j)
      a[i * n + j] = a[j * n + i] = moments_[i * n + j] / static_cast<double>(patches_);
  }
  diagonalise(a, v, n);
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t i, std::size_t j) { return a[i * n + i] > a[j * n + j]; });
  std::vector<float> filters;
  filters.reserve(2 * n * n);
  for (const std::size_t k : order) {
    const double scale = 1 / std::sqrt(std::max(a[k * n + k], 0.0) + kEpsilon);
    for (const double sign : {1.0, -1.0}) {
      for (std::size_t i = 0; i < n; ++i) filters.push_back(static_cast<float>(sign * scale * v[i * n + k]));
    }
  }
  return filters;
}

}  // namespace dptrain

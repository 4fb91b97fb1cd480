// Max pooling in 16 bits against the plainest loops: what is equal, and what is no number.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/cpu/window_maxima.h"

using namespace dptrain;
using namespace dptrain::cpu;

namespace {

constexpr std::int64_t kHeight = 17, kWidth = 33;

/// Whether what window_maxima() found in one window of one channel is right: `gradient` is what its places have of dx.
bool is_right(const std::vector<float>& window, float maximum, std::size_t place, const std::vector<float>& gradient,
              float dy) {
  std::size_t best = 0;
  for (std::size_t k = 1; k < window.size(); ++k) {
    if (window[k] > window[best] || (std::isnan(window[k]) && !std::isnan(window[best]))) best = k;
  }
  for (std::size_t k = 0; k < window.size(); ++k)
    if (gradient[k] != (k == best ? dy : 0)) return false;
  return place == best && (maximum == window[best] || (std::isnan(maximum) && std::isnan(window[best])));
}

}  // namespace

TEST_CASE("the first of equal maxima counts, and a NaN before all numbers") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();
  const float values[] = {-kInfinity, -2, -1e-40f, -0.0f, 0.0f, 1e-40f, 1, 2, kInfinity, kNan, -kNan};
  std::mt19937 random(1);
  for (const std::int64_t channels : {32, 41, 96}) {
    for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{2, 2}, {3, 1}, {2, 4}, {16, 16}}) {
      const Windows w{2, kHeight, kWidth, channels, rows, columns};
      std::vector<BFloat16> x(static_cast<std::size_t>(2 * kHeight * kWidth * channels)), dx(x.size(), BFloat16(7.0f));
      for (BFloat16& value : x) value = BFloat16(values[random() % std::size(values)]);
      std::vector<BFloat16> y(static_cast<std::size_t>(w.places())), dy(y.size());
      std::vector<std::uint8_t> places(y.size());
      for (std::size_t i = 0; i < dy.size(); ++i) dy[i] = BFloat16(static_cast<float>(i % 100 + 1));
      window_maxima(w, x.data(), y.data(), places.data());
      window_maxima_gradient(w, places.data(), dy.data(), dx.data());

      std::size_t right = 0, out = 0;
      float total = 0, total_out = 0;  // of gradients: nothing lies outside the windows
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t row = 0; row < w.out_height(); ++row) {
          for (std::int64_t column = 0; column < w.out_width(); ++column) {
            for (std::int64_t c = 0; c < channels; ++c, ++out) {
              std::vector<float> window, gradient;
              for (std::int64_t k = 0; k < rows * columns; ++k) {
                const auto at = static_cast<std::size_t>(
                    ((n * kHeight + row * rows + k / columns) * kWidth + column * columns + k % columns) * channels +
                    c);
                window.push_back(static_cast<float>(x[at]));
                gradient.push_back(static_cast<float>(dx[at]));
              }
              right += is_right(window, static_cast<float>(y[out]), places[out], gradient, static_cast<float>(dy[out]));
              total_out += static_cast<float>(dy[out]);
            }
          }
        }
      }
      for (const BFloat16& value : dx) total += static_cast<float>(value);
      CHECK(right == y.size());
      CHECK(total == total_out);
    }
  }
}

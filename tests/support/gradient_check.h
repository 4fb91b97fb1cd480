// Gradients against central differences. The objective is sum(y dy) in double precision, so what limits a comparison is
// the rounding of the layer's own float outputs: steps are large, and powers of two, so that x + step is exact for
// inputs on a coarse grid. Four points cancel the third derivative; the inputs keep 2 steps away from kinks (see the
// makers below).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <vector>

#include "core/philox.h"

namespace dptrain::testing {

/// Random numbers of one test case.
class Draws {
 public:
  explicit Draws(std::uint64_t seed) : stream_(seed, RandomPurpose::test, 77) {}
  std::uint32_t below(std::uint32_t bound) { return stream_.bits(0, next_++) % bound; }
  /// Multiples of 2^-8 in [-1, 1).
  float coarse() { return static_cast<float>(static_cast<int>(below(512)) - 256) / 256; }
  std::vector<float> vector(std::int64_t count) {
    std::vector<float> all(static_cast<std::size_t>(count));
    for (float& value : all) value = coarse();
    return all;
  }
  /// Distances of at least `gap` from zero: for ReLU's kink.
  std::vector<float> away_from_zero(std::int64_t count, float gap) {
    std::vector<float> all = vector(count);
    for (float& value : all) value += value < 0 ? -gap : gap;
    return all;
  }
  /// All distinct, `gap` apart, in random order: for the kinks of max pooling, where two inputs are equal.
  std::vector<float> apart(std::int64_t count, float gap) {
    std::vector<float> all(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = (static_cast<float>(i) - static_cast<float>(count) / 2) * gap;
    for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[below(static_cast<std::uint32_t>(i))]);
    return all;
  }

 private:
  RandomStream stream_;
  std::uint64_t next_ = 0;
};

/// The largest difference between `gradient` and the differences of `objective`, over at most `probes` elements of
/// `values` chosen at random, relative to the largest gradient (at least `floor`). `values` is put back as it was.
inline double gradient_error(std::vector<float>& values, const std::vector<float>& gradient, float step, double floor,
                             const std::function<double()>& objective, Draws& draws, std::size_t probes = 40) {
  if (values.size() != gradient.size()) return HUGE_VAL;
  double largest = floor;
  for (const float g : gradient) largest = std::max(largest, std::abs(double{g}));
  std::vector<std::size_t> chosen(values.size());
  std::iota(chosen.begin(), chosen.end(), std::size_t{0});
  for (std::size_t i = chosen.size(); i > 1; --i)
    std::swap(chosen[i - 1], chosen[draws.below(static_cast<std::uint32_t>(i))]);
  chosen.resize(std::min(chosen.size(), probes));
  double worst = 0;
  for (const std::size_t i : chosen) {
    const float before = values[i];
    const auto at = [&](float offset) {
      values[i] = before + offset;
      return objective();
    };
    const double near = (at(step) - at(-step)) / (2 * double{step});
    const double far = (at(2 * step) - at(-2 * step)) / (4 * double{step});
    values[i] = before;
    const double error = std::abs((4 * near - far) / 3 - double{gradient[i]});
    if (!(error <= worst)) worst = error;
    if (std::isnan(worst)) return HUGE_VAL;
  }
  return worst / largest;
}

}  // namespace dptrain::testing

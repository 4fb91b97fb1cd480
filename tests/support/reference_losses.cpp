// Losses in float64; see reference.h.
#include <cmath>

#include "support/reference.h"

namespace dptrain::testing::reference {

namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

std::int64_t largest(std::int64_t classes, const double* row) {
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < classes; ++c) best = row[c] > row[best] ? c : best;
  return best;
}

}  // namespace

Loss cross_entropy(std::int64_t classes, const Values& logits, std::span<const std::int32_t> labels, double smoothing) {
  Loss sum{.gradient = softmax(classes, 1, logits)};
  for (std::size_t s = 0; s < labels.size(); ++s) {
    const double* row = logits.data() + s * index(classes);
    const std::int64_t best = largest(classes, row);
    double total = 0;
    for (std::int64_t c = 0; c < classes; ++c) total += std::exp(row[c] - row[best]);
    sum.correct += best == labels[s];
    for (std::int64_t c = 0; c < classes; ++c) {
      const double target = smoothing / static_cast<double>(classes) + (c == labels[s] ? 1 - smoothing : 0);
      sum.loss += target * (std::log(total) + row[best] - row[c]);
      sum.gradient[s * index(classes) + index(c)] -= target;
    }
  }
  return sum;
}

Loss mean_squared_error(std::int64_t classes, const Values& outputs, std::span<const std::int32_t> labels) {
  Loss sum{.gradient = outputs};
  for (std::size_t s = 0; s < labels.size(); ++s) {
    double* row = sum.gradient.data() + s * index(classes);
    sum.correct += largest(classes, row) == labels[s];
    row[labels[s]] -= 1;
    for (std::int64_t c = 0; c < classes; ++c) {
      sum.loss += row[c] * row[c] / static_cast<double>(classes);
      row[c] *= 2.0 / static_cast<double>(classes);
    }
  }
  return sum;
}

}  // namespace dptrain::testing::reference

#include <cmath>

#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

namespace {

std::int64_t largest(const float* row, std::int64_t classes) {
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < classes; ++c) {
    if (row[c] > row[best]) best = c;
  }
  return best;
}

}  // namespace

LossSum cross_entropy(const float* logits, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                      float smoothing, float* gradient) {
  LossSum sum;
  const float spread = smoothing / static_cast<float>(classes);
  for (std::int64_t s = 0; s < samples; ++s, logits += classes) {
    const std::int64_t best = largest(logits, classes);
    const float top = logits[best];
    const std::int32_t label = labels[s];
    float total = 0;
    if (gradient == nullptr) {
      for (std::int64_t c = 0; c < classes; ++c) total += std::exp(logits[c] - top);
    } else {
      for (std::int64_t c = 0; c < classes; ++c) {
        gradient[c] = std::exp(logits[c] - top);
        total += gradient[c];
      }
      const float scale = 1.0f / total;
      for (std::int64_t c = 0; c < classes; ++c) gradient[c] = gradient[c] * scale - spread;
      gradient[label] -= 1.0f - smoothing;
      gradient += classes;
    }
    // A NaN among the logits must show in the loss even where no comparison sees it: it reaches `total` in every case.
    double below = static_cast<double>(top) - static_cast<double>(logits[label]);
    if (smoothing > 0) {
      double all = 0;
      for (std::int64_t c = 0; c < classes; ++c) all += static_cast<double>(top) - static_cast<double>(logits[c]);
      below += static_cast<double>(smoothing) * (all / static_cast<double>(classes) - below);
    }
    sum.loss += static_cast<double>(std::log(total)) + below;
    sum.correct += best == label;
  }
  return sum;
}

LossSum mean_squared_error(const float* outputs, const std::int32_t* labels, std::int64_t samples, std::int64_t classes,
                           float* gradient) {
  LossSum sum;
  const float scale = 2.0f / static_cast<float>(classes);
  for (std::int64_t s = 0; s < samples; ++s, outputs += classes) {
    double squares = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const float difference = outputs[c] - (c == labels[s] ? 1.0f : 0.0f);
      squares += static_cast<double>(difference) * static_cast<double>(difference);
      if (gradient != nullptr) gradient[s * classes + c] = scale * difference;
    }
    sum.loss += squares / static_cast<double>(classes);
    sum.correct += largest(outputs, classes) == labels[s];
  }
  return sum;
}

}  // namespace dptrain::cpu

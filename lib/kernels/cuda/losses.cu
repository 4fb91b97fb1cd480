#include <algorithm>
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/losses.h"

namespace dptrain::cuda {
namespace {

DPTRAIN_HD inline float factor_of(const LossScale* scale) {
  return scale == nullptr ? 1.0f : scale->factor;
}

DPTRAIN_HD inline std::int64_t largest(const float* row, std::int64_t classes) {
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < classes; ++c) {
    if (row[c] > row[best]) best = c;
  }
  return best;
}

struct CrossEntropy {
  const float* outputs;
  const std::int32_t* labels;
  std::int64_t classes;
  float* gradient;  // null: not wanted
  LossSum* losses;
  const LossScale* loss_scale;
  float smoothing;
  DPTRAIN_HD void operator()(std::int64_t sample) const {
    const float* row = outputs + sample * classes;
    const std::int64_t best = largest(row, classes);
    const float top = row[best];
    const std::int32_t label = labels[sample];
    float total = 0;
    for (std::int64_t c = 0; c < classes; ++c) total += std::exp(row[c] - top);
    if (gradient != nullptr) {
      float* out = gradient + sample * classes;
      const float scale = 1.0f / total, spread = smoothing / static_cast<float>(classes),
                  factor = factor_of(loss_scale);
      for (std::int64_t c = 0; c < classes; ++c) out[c] = (std::exp(row[c] - top) * scale - spread) * factor;
      out[label] -= (1.0f - smoothing) * factor;
    }
    // A NaN among the logits must show in the loss even where no comparison sees it: it reaches `total` in every case.
    double below = static_cast<double>(top) - static_cast<double>(row[label]);
    if (smoothing > 0) {
      double all = 0;
      for (std::int64_t c = 0; c < classes; ++c) all += static_cast<double>(top) - static_cast<double>(row[c]);
      below += static_cast<double>(smoothing) * (all / static_cast<double>(classes) - below);
    }
    losses[sample].loss = static_cast<double>(std::log(total)) + below;
    losses[sample].correct = best == label;
  }
};

struct SquaredError {
  const float* outputs;
  const std::int32_t* labels;
  std::int64_t classes;
  float* gradient;  // null: not wanted
  LossSum* losses;
  const LossScale* loss_scale;
  DPTRAIN_HD void operator()(std::int64_t sample) const {
    const float* row = outputs + sample * classes;
    const std::int32_t label = labels[sample];
    const float scale = 2.0f / static_cast<float>(classes), factor = factor_of(loss_scale);
    double squares = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const float difference = row[c] - (c == label ? 1.0f : 0.0f);
      squares += static_cast<double>(difference) * static_cast<double>(difference);
      if (gradient != nullptr) gradient[sample * classes + c] = scale * difference * factor;
    }
    losses[sample].loss = squares / static_cast<double>(classes);
    losses[sample].correct = largest(row, classes) == label;
  }
};

/// Entries [kChunk i, kChunk (i + 1)) to sums[i], onto what is there where `onto`.
struct SumEntries {
  const LossSum* entries;
  LossSum* sums;
  std::int64_t count, chunk;
  bool onto;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t last = (i + 1) * chunk < count ? (i + 1) * chunk : count;
    LossSum sum;
    if (onto) sum = sums[i];
    for (std::int64_t k = i * chunk; k < last; ++k) {
      sum.loss += entries[k].loss;
      sum.correct += entries[k].correct;
    }
    sums[i] = sum;
  }
};

template <class Loss, class... Settings>
void run(const Context& context, const LossScratch& scratch, const float* outputs, const std::int32_t* labels,
         std::int64_t samples, std::int64_t classes, float* gradient, LossSum* sum, Settings... settings) {
  constexpr std::int64_t kChunk = LossScratch::kChunk;
  LossSum* chunks = scratch.samples + LossScratch::kSamples;
  for (std::int64_t first = 0; first < samples; first += LossScratch::kSamples) {
    const std::int64_t count = std::min(LossScratch::kSamples, samples - first);
    const std::int64_t offset = first * classes;
    for_each(count, context.stream,
             Loss{outputs + offset, labels + first, classes, gradient == nullptr ? nullptr : gradient + offset,
                  scratch.samples, scratch.scale, settings...});
    const std::int64_t sums = (count + kChunk - 1) / kChunk;
    for_each(sums, context.stream, SumEntries{scratch.samples, chunks, count, kChunk, false});
    for_each(1, context.stream, SumEntries{chunks, sum, sums, sums, first > 0});
  }
}

}  // namespace

void cross_entropy(const Context& context, const LossScratch& scratch, const float* logits, const std::int32_t* labels,
                   std::int64_t samples, std::int64_t classes, float smoothing, float* gradient, LossSum* sum) {
  run<CrossEntropy>(context, scratch, logits, labels, samples, classes, gradient, sum, smoothing);
}

void mean_squared_error(const Context& context, const LossScratch& scratch, const float* outputs,
                        const std::int32_t* labels, std::int64_t samples, std::int64_t classes, float* gradient,
                        LossSum* sum) {
  run<SquaredError>(context, scratch, outputs, labels, samples, classes, gradient, sum);
}

}  // namespace dptrain::cuda

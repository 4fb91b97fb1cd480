#include <algorithm>
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/groups.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/losses.h"

namespace dptrain::cuda {
namespace {

DPTRAIN_HD inline float factor_of(const LossScale* scale) {
  return scale == nullptr ? 1.0f : scale->factor;
}

struct Largest {
  std::int64_t place;
  float value;
};
DPTRAIN_HD inline Largest largest(const float* row, std::int64_t classes) {
  Largest best{0, row[0]};
  for (std::int64_t c = 1; c < classes; ++c) {
    const float value = row[c];
    if (value > best.value) best = {c, value};
  }
  return best;
}

struct CrossEntropy {
  const float* outputs;
  const std::int32_t* labels;
  std::int64_t classes;
  float* gradient;  // null: not wanted
  const LossScale* loss_scale;
  float smoothing;
  DPTRAIN_HD LossSum of(std::int64_t sample) const {
    const float* row = outputs + sample * classes;
    const std::int32_t label = labels[sample];
    const Largest best = largest(row, classes);
    const float top = best.value;
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
    return {static_cast<double>(std::log(total)) + below, best.place == label};
  }
};

struct SquaredError {
  const float* outputs;
  const std::int32_t* labels;
  std::int64_t classes;
  float* gradient;  // null: not wanted
  const LossScale* loss_scale;
  DPTRAIN_HD LossSum of(std::int64_t sample) const {
    const float* row = outputs + sample * classes;
    const std::int32_t label = labels[sample];
    const float scale = 2.0f / static_cast<float>(classes), factor = factor_of(loss_scale);
    double squares = 0;
    for (std::int64_t c = 0; c < classes; ++c) {
      const float difference = row[c] - (c == label ? 1.0f : 0.0f);
      squares += static_cast<double>(difference) * static_cast<double>(difference);
      if (gradient != nullptr) gradient[sample * classes + c] = scale * difference * factor;
    }
    return {squares / static_cast<double>(classes), largest(row, classes).place == label};
  }
};

/// A batch that one group of threads gets through: samples and their sum in one kernel.
template <class Loss>
struct InOneGroup {
  static constexpr int kThreads = 256, kPhases = 3, kLanes = 16;
  static constexpr std::int64_t kMost = 1024;
  struct Kept {  // a LossSum in memory that a group shares: nothing constructs it
    double loss;
    std::int64_t correct;
    DPTRAIN_HD Kept& operator=(const LossSum& sum) {
      loss = sum.loss;
      correct = sum.correct;
      return *this;
    }
  };
  struct Thread {};
  struct Shared {
    Kept of_thread[kThreads], of_lane[kLanes];
  };
  Loss loss;
  std::int64_t samples;
  LossSum* sum;

  template <int phase>
  DPTRAIN_HD void run(std::int64_t, int thread, Shared& shared, Thread&) const {
    if constexpr (phase == 0) {
      LossSum all;
      for (std::int64_t sample = thread; sample < samples; sample += kThreads) {
        const LossSum one = loss.of(sample);
        all.loss += one.loss;
        all.correct += one.correct;
      }
      shared.of_thread[thread] = all;
    }
    if constexpr (phase == 1) {
      constexpr int kEach = kThreads / kLanes;
      if (thread < kLanes) shared.of_lane[thread] = added<kEach>(shared.of_thread + thread * kEach);
    }
    if constexpr (phase == 2) {
      if (thread == 0) *sum = added<kLanes>(shared.of_lane);
    }
  }

 private:
  template <int count>
  DPTRAIN_HD static LossSum added(const Kept* entries) {
    LossSum all;
    for (int k = 0; k < count; ++k) {
      all.loss += entries[k].loss;
      all.correct += entries[k].correct;
    }
    return all;
  }
};

/// Of a larger one: each sample by itself.
template <class Loss>
struct EachSample {
  Loss loss;
  LossSum* losses;
  DPTRAIN_HD void operator()(std::int64_t sample) const { losses[sample] = loss.of(sample); }
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
  const auto from = [&](std::int64_t first) {
    const std::int64_t offset = first * classes;
    return Loss{outputs + offset, labels + first, classes, gradient == nullptr ? nullptr : gradient + offset,
                scratch.scale,    settings...};
  };
  if (samples <= InOneGroup<Loss>::kMost)
    return for_each_group(1, context.stream, InOneGroup<Loss>{from(0), samples, sum});
  constexpr std::int64_t kChunk = LossScratch::kChunk;
  LossSum* chunks = scratch.samples + LossScratch::kSamples;
  for (std::int64_t first = 0; first < samples; first += LossScratch::kSamples) {
    const std::int64_t count = std::min(LossScratch::kSamples, samples - first);
    for_each(count, context.stream, EachSample<Loss>{from(first), scratch.samples});
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

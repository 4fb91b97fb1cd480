// What a batch norm over a whole step measures, as it goes to the other micro-batches, and what it is told.
#include <cmath>

#include "core/host_device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm.h"

namespace dptrain::cuda {
namespace {

struct StepMoments {
  const Pair* moments;
  float* step;
  std::int64_t channels;
  float count;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    if (c == 0) step[0] = count;
    step[1 + c] = moments[c].first;
    step[1 + channels + c] = moments[c].second;
  }
};

struct OfStep {
  const float* step;
  Pair* statistics;
  std::int64_t channels;
  float epsilon;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    statistics[c] = {step[1 + c], 1.0f / std::sqrt(step[1 + channels + c] / step[0] + epsilon)};
  }
};

struct RunningSumsOfStep {
  const float* step;
  float *mean, *variance;
  std::int64_t channels;
  float samples;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    mean[c] = samples * step[1 + c];
    variance[c] = samples * (step[1 + channels + c] / (step[0] - 1.0f));
  }
};

struct SpreadPairs {
  const Pair* pairs;
  float* sums;
  std::int64_t channels;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    sums[c] = pairs[c].first;
    sums[channels + c] = pairs[c].second;
  }
};

struct GatherPairs {
  const float* sums;
  Pair* pairs;
  std::int64_t channels;
  DPTRAIN_HD void operator()(std::int64_t c) const { pairs[c] = {sums[c], sums[channels + c]}; }
};

}  // namespace

void step_moments(const Context& context, const NormShape& shape, const Pair* moments, float* step) {
  for_each(shape.channels, context.stream,
           StepMoments{moments, step, shape.channels, static_cast<float>(shape.of_set())});
}

void statistics_of_step(const Context& context, std::int64_t channels, const float* step, float epsilon,
                        Pair* statistics) {
  for_each(channels, context.stream, OfStep{step, statistics, channels, epsilon});
}

void running_sums_of_step(const Context& context, const NormShape& shape, const float* step, float* mean,
                          float* variance) {
  for_each(shape.channels, context.stream,
           RunningSumsOfStep{step, mean, variance, shape.channels, static_cast<float>(shape.samples)});
}

void spread_pairs(const Context& context, std::int64_t channels, const Pair* pairs, float* sums) {
  for_each(channels, context.stream, SpreadPairs{pairs, sums, channels});
}

void gather_pairs(const Context& context, std::int64_t channels, const float* sums, Pair* pairs) {
  for_each(channels, context.stream, GatherPairs{sums, pairs, channels});
}

}  // namespace dptrain::cuda

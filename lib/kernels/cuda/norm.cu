#include <cmath>
#include <utility>

#include "core/host_device.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/norm.h"

namespace dptrain::cuda {
namespace {

constexpr std::int64_t kChunk = 64;

constexpr std::int64_t chunks(std::int64_t count) {
  return (count + kChunk - 1) / kChunk;
}

struct Place {
  std::int64_t place, channel, set;
};

DPTRAIN_HD inline Place element_at(const NormShape& s, std::int64_t sample, std::int64_t channel, std::int64_t pixel) {
  const std::int64_t inside = s.channels_last ? pixel * s.channels + channel : channel * s.pixels + pixel;
  const std::int64_t set = s.groups == 0 ? channel : sample * s.groups + channel / (s.channels / s.groups);
  return {sample * s.channels * s.pixels + inside, channel, set};
}

DPTRAIN_HD inline Place element_of_place(const NormShape& s, std::int64_t place) {
  const std::int64_t sample = place / (s.channels * s.pixels), inside = place % (s.channels * s.pixels);
  return s.channels_last ? element_at(s, sample, inside % s.channels, inside / s.channels)
                         : element_at(s, sample, inside / s.pixels, inside % s.pixels);
}

/// Element k of set i of `over`, in the order of memory; which set of `s` it is in may be another.
DPTRAIN_HD inline Place element_of_set(const NormShape& over, const NormShape& s, std::int64_t i, std::int64_t k) {
  if (over.groups == 0) return element_at(s, k / over.pixels, i, k % over.pixels);
  const std::int64_t width = over.channels / over.groups, first = i % over.groups * width;
  return over.channels_last ? element_at(s, i / over.groups, first + k % width, k / width)
                            : element_at(s, i / over.groups, first + k / over.pixels, k % over.pixels);
}

DPTRAIN_HD inline float normal(const NormForward& f, const Place& e, float x) {
  return (x - f.statistics[e.set].first) * f.statistics[e.set].second;
}

DPTRAIN_HD inline float forward_value(const NormForward& f, const Place& e, float x) {
  const float scaled = f.weight == nullptr ? normal(f, e, x) : normal(f, e, x) * f.weight[e.channel];
  return f.bias == nullptr ? scaled : scaled + f.bias[e.channel];
}

/// dy in front of the ReLU.
DPTRAIN_HD inline float difference(const NormForward& f, const Place& e, float x, float dy) {
  return !f.relu || forward_value(f, e, x) > 0.0f ? dy : 0.0f;
}

template <class Element>
struct Moments {  // of a chunk of a set
  NormShape s;
  const Element* x;
  Pair* out;  // (chunks, sets)
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t set = i % s.sets(), first = i / s.sets() * kChunk;
    const std::int64_t last = first + kChunk < s.of_set() ? first + kChunk : s.of_set();
    float sum = 0, squares = 0;
    for (std::int64_t k = first; k < last; ++k) sum += wide(x[element_of_set(s, s, set, k).place]);
    const float mean = sum / static_cast<float>(last - first);
    for (std::int64_t k = first; k < last; ++k) {
      const float apart = wide(x[element_of_set(s, s, set, k).place]) - mean;
      squares += apart * apart;
    }
    out[i] = {mean, squares};
  }
};

/// A chunk of moments as one (Chan, Golub and LeVeque 1979). Each is of `span` elements, a set's last one of the rest.
struct CombineMoments {
  const Pair* in;
  Pair* out;
  std::int64_t sets, entries, span, of_set;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t set = i % sets, first = i / sets * kChunk;
    const std::int64_t last = first + kChunk < entries ? first + kChunk : entries;
    float before = 0;
    Pair all;
    for (std::int64_t k = first; k < last; ++k) {
      const Pair part = in[k * sets + set];
      const std::int64_t left = of_set - k * span;
      const float rows = static_cast<float>(left < span ? left : span), count = before + rows, share = rows / count;
      const float apart = part.first - all.first;
      all.first += apart * share;
      all.second += part.second + apart * apart * (before * share);
      before = count;
    }
    out[i] = all;
  }
};

struct OfMoments {
  const Pair* moments;
  Pair* statistics;
  float count, epsilon;
  DPTRAIN_HD void operator()(std::int64_t s) const {
    statistics[s] = {moments[s].first, 1.0f / std::sqrt(moments[s].second / count + epsilon)};
  }
};

struct OfRunning {
  const float *mean, *variance;
  Pair* statistics;
  float epsilon;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    statistics[c] = {mean[c], 1.0f / std::sqrt(variance[c] + epsilon)};
  }
};

struct RunningSums {
  const Pair* moments;
  float *mean, *variance;
  float samples, count;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    mean[c] = samples * moments[c].first;
    variance[c] = samples * (moments[c].second / (count - 1.0f));
  }
};

template <class Element>
struct Normalise {
  NormForward f;
  const Element* x;
  Element* y;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const float value = forward_value(f, element_of_place(f.shape, i), wide(x[i]));
    store(y[i], f.relu && value < 0.0f ? 0.0f : value);  // NaN stays NaN
  }
};

template <class Element>
struct GradientSums {  // of a chunk of a set
  NormForward f;
  NormShape over;
  const Element *x, *dy;
  Pair* out;  // (chunks, sets)
  bool weighted;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t set = i % over.sets(), first = i / over.sets() * kChunk;
    const std::int64_t last = first + kChunk < over.of_set() ? first + kChunk : over.of_set();
    Pair sum;
    for (std::int64_t k = first; k < last; ++k) {
      const Place e = element_of_set(over, f.shape, set, k);
      const float value = wide(x[e.place]);
      float d = difference(f, e, value, wide(dy[e.place]));
      if (weighted && f.weight != nullptr) d *= f.weight[e.channel];
      sum.first += d;
      sum.second += d * normal(f, e, value);
    }
    out[i] = sum;
  }
};

struct AddPairs {
  const Pair* in;
  Pair* out;
  std::int64_t sets, entries;
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t set = i % sets, first = i / sets * kChunk;
    const std::int64_t last = first + kChunk < entries ? first + kChunk : entries;
    Pair sum;
    for (std::int64_t k = first; k < last; ++k) {
      sum.first += in[k * sets + set].first;
      sum.second += in[k * sets + set].second;
    }
    out[i] = sum;
  }
};

struct ParameterGradients {
  const Pair* sums;
  float *weight, *bias;
  DPTRAIN_HD void operator()(std::int64_t c) const {
    if (weight != nullptr) weight[c] = sums[c].second;
    if (bias != nullptr) bias[c] = sums[c].first;
  }
};

template <class Element>
struct Backward {
  NormForward f;
  const Pair* sums;
  const Element *x, *dy;
  Element* dx;
  float count;
  const float* step_count;  // null: count
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const float values = step_count == nullptr ? count : *step_count;
    const Place e = element_of_place(f.shape, i);
    const float weight = f.weight == nullptr ? 1.0f : f.weight[e.channel], value = wide(x[i]);
    const float from_sums = (sums[e.set].first + normal(f, e, value) * sums[e.set].second) / values;
    const float d = difference(f, e, value, wide(dy[i]));
    const float inside = f.shape.groups == 0 ? weight * (d - from_sums) : weight * d - from_sums;
    store(dx[i], f.statistics[e.set].second * inside);
  }
};

}  // namespace

std::int64_t norm_scratch_entries(const NormShape& shape) {
  return (chunks(shape.of_set()) + chunks(chunks(shape.of_set()))) * shape.sets();
}

// The levels alternate between the two parts of the scratch.
void moments(const Context& context, const NormShape& shape, const void* x, Pair* scratch, Pair* moments) {
  const std::int64_t sets = shape.sets();
  std::int64_t entries = chunks(shape.of_set()), span = kChunk;
  Pair *from = scratch, *other = scratch + entries * sets;
  with_element(shape.type, [&]<class Element>(Element) {
    for_each(entries * sets, context.stream,
             Moments<Element>{shape, elements<Element>(x), entries == 1 ? moments : from});
  });
  for (; entries > 1; entries = chunks(entries), span *= kChunk) {
    Pair* to = entries <= kChunk ? moments : other;
    for_each(chunks(entries) * sets, context.stream, CombineMoments{from, to, sets, entries, span, shape.of_set()});
    std::swap(from, other);
  }
}

void statistics_of_moments(const Context& context, const NormShape& shape, const Pair* moments, float epsilon,
                           Pair* statistics) {
  for_each(shape.sets(), context.stream, OfMoments{moments, statistics, static_cast<float>(shape.of_set()), epsilon});
}

void statistics_of_running(const Context& context, std::int64_t channels, const float* mean, const float* variance,
                           float epsilon, Pair* statistics) {
  for_each(channels, context.stream, OfRunning{mean, variance, statistics, epsilon});
}

void running_sums(const Context& context, const NormShape& shape, const Pair* moments, float* mean, float* variance) {
  for_each(shape.channels, context.stream,
           RunningSums{moments, mean, variance, static_cast<float>(shape.samples), static_cast<float>(shape.of_set())});
}

void normalise(const Context& context, const NormForward& forward, const void* x, void* y) {
  with_element(forward.shape.type, [&]<class Element>(Element) {
    for_each(forward.shape.elements(), context.stream,
             Normalise<Element>{forward, elements<Element>(x), elements<Element>(y)});
  });
}

void gradient_sums(const Context& context, const NormForward& forward, const NormShape& over, bool weighted,
                   const void* x, const void* dy, Pair* scratch, Pair* sums) {
  const std::int64_t sets = over.sets();
  std::int64_t entries = chunks(over.of_set());
  Pair *from = scratch, *other = scratch + entries * sets;
  with_element(forward.shape.type, [&]<class Element>(Element) {
    for_each(entries * sets, context.stream,
             GradientSums<Element>{forward, over, elements<Element>(x), elements<Element>(dy),
                                   entries == 1 ? sums : from, weighted});
  });
  for (; entries > 1; entries = chunks(entries)) {
    Pair* to = entries <= kChunk ? sums : other;
    for_each(chunks(entries) * sets, context.stream, AddPairs{from, to, sets, entries});
    std::swap(from, other);
  }
}

void parameter_gradients(const Context& context, std::int64_t channels, const Pair* sums, float* weight, float* bias) {
  for_each(channels, context.stream, ParameterGradients{sums, weight, bias});
}

void norm_backward(const Context& context, const NormForward& forward, const Pair* sums, const void* x, const void* dy,
                   void* dx, const float* step_count) {
  with_element(forward.shape.type, [&]<class Element>(Element) {
    for_each(forward.shape.elements(), context.stream,
             Backward<Element>{forward, sums, elements<Element>(x), elements<Element>(dy), elements<Element>(dx),
                               static_cast<float>(forward.shape.of_set()), step_count});
  });
}

}  // namespace dptrain::cuda

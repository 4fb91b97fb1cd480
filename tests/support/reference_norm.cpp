// Normalisations and sums of tensors in float64; see reference.h.
#include <cmath>

#include "support/reference.h"

namespace dptrain::testing::reference {

namespace {

std::size_t index(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// An element, its channel, and the set of elements that it is normalised with.
struct Member {
  std::size_t element, channel, set;
};

std::vector<Member> members(const ImageShape& s, const NormSpec& spec) {
  std::vector<Member> all;
  const std::int64_t groups = spec.kind == NormKind::group ? spec.groups : 1, area = s.height * s.width;
  for (std::int64_t n = 0; n < s.batch; ++n) {
    for (std::int64_t c = 0; c < s.channels; ++c) {
      const std::int64_t set = spec.kind == NormKind::batch ? c : n * groups + c * groups / s.channels;
      for (std::int64_t p = 0; p < area; ++p)
        all.push_back({index((n * s.channels + c) * area + p), index(c), index(set)});
    }
  }
  return all;
}

struct Sets {
  std::vector<Member> members;
  Values count, mean, inverse, variance;  ///< by set; the variance is the biased one
};

Sets sets_of(const ImageShape& s, const NormSpec& spec, const Values& x) {
  Sets sets{members(s, spec), {}, {}, {}, {}};
  const std::size_t many = index(spec.kind == NormKind::batch ? s.channels : s.batch * spec.groups);
  for (Values* values : {&sets.count, &sets.mean, &sets.inverse, &sets.variance}) values->resize(many);
  for (const Member& m : sets.members) {
    sets.mean[m.set] += x[m.element];
    ++sets.count[m.set];
  }
  for (std::size_t i = 0; i < many; ++i) sets.mean[i] /= sets.count[i];
  for (const Member& m : sets.members) sets.variance[m.set] += std::pow(x[m.element] - sets.mean[m.set], 2);
  for (std::size_t i = 0; i < many; ++i) {
    sets.variance[i] /= sets.count[i];
    sets.inverse[i] = 1 / std::sqrt(sets.variance[i] + spec.epsilon);
  }
  return sets;
}

double weight_of(const Values& weight, std::size_t channel) {
  return weight.empty() ? 1 : weight[channel];
}

Values scaled(const Sets& sets, const Values& x, const Values& weight, const Values& bias) {
  Values y(x.size());
  for (const Member& m : sets.members) {
    y[m.element] = (x[m.element] - sets.mean[m.set]) * sets.inverse[m.set] * weight_of(weight, m.channel) +
                   (bias.empty() ? 0 : bias[m.channel]);
  }
  return y;
}

}  // namespace

Values norm(const ImageShape& s, const NormSpec& spec, const Values& x, const Values& weight, const Values& bias) {
  return scaled(sets_of(s, spec, x), x, weight, bias);
}

Values norm_with(const ImageShape& s, const NormSpec& spec, const Values& mean, const Values& variance, const Values& x,
                 const Values& weight, const Values& bias) {
  Sets sets{members(s, spec), {}, mean, {}, variance};
  for (const double v : variance) sets.inverse.push_back(1 / std::sqrt(v + spec.epsilon));
  return scaled(sets, x, weight, bias);
}

// y = w u, u = (x - mean) / deviation: dx = (dy w - mean(dy w) - u mean(dy w u)) / deviation.
AffineGradients norm_backward(const ImageShape& s, const NormSpec& spec, const Values& x, const Values& weight,
                              const Values& dy) {
  const Sets sets = sets_of(s, spec, x);
  AffineGradients gradients{Values(x.size()), Values(index(s.channels)), Values(index(s.channels))};
  Values sums(sets.mean.size()), products(sets.mean.size());
  const auto normal = [&](const Member& m) { return (x[m.element] - sets.mean[m.set]) * sets.inverse[m.set]; };
  for (const Member& m : sets.members) {
    gradients.weight[m.channel] += dy[m.element] * normal(m);
    gradients.bias[m.channel] += dy[m.element];
    sums[m.set] += dy[m.element] * weight_of(weight, m.channel);
    products[m.set] += dy[m.element] * weight_of(weight, m.channel) * normal(m);
  }
  for (const Member& m : sets.members) {
    gradients.x[m.element] = sets.inverse[m.set] * (dy[m.element] * weight_of(weight, m.channel) -
                                                    (sums[m.set] + normal(m) * products[m.set]) / sets.count[m.set]);
  }
  return gradients;
}

RunningStatistics running_statistics(const ImageShape& s, const NormSpec& spec, const Values& x) {
  const Sets sets = sets_of(s, spec, x);
  RunningStatistics sums{sets.mean, sets.variance};
  for (std::size_t c = 0; c < sums.mean.size(); ++c) {
    sums.mean[c] *= static_cast<double>(s.batch);
    sums.variance[c] *= static_cast<double>(s.batch) * sets.count[c] / (sets.count[c] - 1);
  }
  return sums;
}

namespace {

/// visit(element of a, element of b) wherever b adds to a.
template <class Visit>
void for_each_sum(const ImageShape& a, const ImageShape& b, std::int64_t stride, const Visit& visit) {
  for (std::int64_t n = 0; n < a.batch; ++n) {
    for (std::int64_t c = 0; c < b.channels; ++c) {
      for (std::int64_t h = 0; h < a.height; ++h) {
        for (std::int64_t w = 0; w < a.width; ++w) {
          visit(index(((n * a.channels + c) * a.height + h) * a.width + w),
                index(((n * b.channels + c) * b.height + h * stride) * b.width + w * stride));
        }
      }
    }
  }
}

}  // namespace

Values add(const ImageShape& a, const ImageShape& b, std::int64_t stride, const Values& x, const Values& other) {
  Values y = x;
  for_each_sum(a, b, stride, [&](std::size_t i, std::size_t j) { y[i] += other[j]; });
  return y;
}

Values add_backward(const ImageShape& a, const ImageShape& b, std::int64_t stride, const Values& dy) {
  Values dx(index(b.elements()));
  for_each_sum(a, b, stride, [&](std::size_t i, std::size_t j) { dx[j] += dy[i]; });
  return dx;
}

}  // namespace dptrain::testing::reference

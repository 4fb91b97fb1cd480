#include "kernels/cpu/apply_update.h"

#include <algorithm>

#include "core/error.h"

namespace dptrain {
namespace {

// The rule is taken by value so that its constants live in registers; restrict spares the overlap tests. The loop that
// results vectorises, body and tail doing the same operations on every element.
template <class Rule>
void update_elements(const Rule rule, std::size_t count, float* __restrict parameters,
                     const float* __restrict gradients, [[maybe_unused]] float* __restrict state0,
                     [[maybe_unused]] float* __restrict state1) {
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (Rule::state_buffers == 0) rule(parameters[i], gradients[i]);
    if constexpr (Rule::state_buffers == 1) rule(parameters[i], gradients[i], state0[i]);
    if constexpr (Rule::state_buffers == 2) rule(parameters[i], gradients[i], state0[i], state1[i]);
  }
}

/// part(range, first, count) for each piece of [offset, offset + count) that lies in one range; `first` counts from offset.
template <class Part>
void for_each_range(const UpdateRanges& ranges, std::int64_t offset, std::int64_t count, const Part& part) {
  const std::int64_t end = offset + count;
  auto range = std::partition_point(ranges.begin(), ranges.end(),
                                    [&](const UpdateRange& r) { return r.first + r.count <= offset; });
  for (; offset < end; ++range) {
    DPTRAIN_CHECK(range != ranges.end() && range->first <= offset, "no range holds float {}", offset);
    const std::int64_t last = std::min(end, range->first + range->count);
    part(*range, static_cast<std::size_t>(offset - (end - count)), static_cast<std::size_t>(last - offset));
    offset = last;
  }
}

double add_squares(double sum, std::span<const float> values) {
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  return sum;
}

}  // namespace

void apply_update(const UpdateRule& rule, std::span<float> parameters, std::span<const float> gradients,
                  std::span<float> state0, std::span<float> state1) {
  const std::size_t count = parameters.size();
  DPTRAIN_CHECK(gradients.size() == count, "{} gradients for {} parameters", gradients.size(), count);
  std::visit(
      [&](const auto& named) {
        constexpr int buffers = std::decay_t<decltype(named)>::state_buffers;
        DPTRAIN_CHECK(buffers < 1 || state0.size() == count, "{} elements of state for {} parameters", state0.size(),
                      count);
        DPTRAIN_CHECK(buffers < 2 || state1.size() == count, "{} elements of state for {} parameters", state1.size(),
                      count);
        update_elements(named, count, parameters.data(), gradients.data(), state0.data(), state1.data());
      },
      rule);
}

void apply_update(const UpdateRule& rule, const UpdateRanges& ranges, std::int64_t offset, std::span<float> parameters,
                  std::span<const float> gradients, std::span<float> state0, std::span<float> state1) {
  if (ranges.empty()) return apply_update(rule, parameters, gradients, state0, state1);
  for_each_range(ranges, offset, static_cast<std::int64_t>(parameters.size()),
                 [&](const UpdateRange& range, std::size_t first, std::size_t count) {
                   const auto part = [&](auto buffer) {
                     return buffer.empty() ? buffer : buffer.subspan(first, count);
                   };
                   const auto apply = [&](const UpdateRule& named) {
                     apply_update(named, part(parameters), part(gradients), part(state0), part(state1));
                   };
                   switch (range.treatment) {
                     case Treatment::decayed:
                       return apply(rule);
                     case Treatment::undecayed:
                       return apply(without_decay(rule));
                     case Treatment::statistic:
                       return apply(StatisticRule{range.statistic_rate});
                   }
                 });
}

double trained_squares(const UpdateRanges& ranges, std::int64_t offset, std::span<const float> gradients) {
  if (ranges.empty()) return add_squares(0, gradients);
  double sum = 0;
  for_each_range(ranges, offset, static_cast<std::int64_t>(gradients.size()),
                 [&](const UpdateRange& range, std::size_t first, std::size_t count) {
                   if (range.treatment != Treatment::statistic) sum = add_squares(sum, gradients.subspan(first, count));
                 });
  return sum;
}

void clip_trained(const UpdateRanges& ranges, std::int64_t offset, float factor, std::span<const float> gradients,
                  float* clipped) {
  const auto scale = [&](float by, std::size_t first, std::size_t count) {
    for (std::size_t i = first; i < first + count; ++i) clipped[i] = gradients[i] * by;
  };
  if (ranges.empty()) return scale(factor, 0, gradients.size());
  for_each_range(ranges, offset, static_cast<std::int64_t>(gradients.size()),
                 [&](const UpdateRange& range, std::size_t first, std::size_t count) {
                   scale(range.treatment == Treatment::statistic ? 1.0f : factor, first, count);
                 });
}

}  // namespace dptrain

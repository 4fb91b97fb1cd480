#include "train/local_sgd/workers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/clip.h"
#include "kernels/cpu/apply_update.h"
#include "kernels/cpu/range_parts.h"
#include "train/gradient_reducer.h"
#include "train/local_sgd/averaging.h"

namespace dptrain {

namespace {

constexpr std::int64_t kChunk = GradientReducer::kChunk;

/// The L2 norm of what is trained, as a synchronous step takes it: chunk by chunk.
double norm(const UpdateRanges& ranges, const float* values, std::int64_t count) {
  double all = 0;
  for (std::int64_t offset = 0; offset < count; offset += kChunk) {
    const auto n = static_cast<std::size_t>(std::min(kChunk, count - offset));
    all += trained_squares(ranges, offset, {values + offset, n});
  }
  return std::sqrt(all);
}

}  // namespace

Workers::Workers(const WorkersConfig& config)
    : state_rule_(config.spec.worker_state),
      floats_(config.floats),
      room_((config.floats + kChunk - 1) / kChunk * kChunk),  // pages of their own
      state_buffers_(config.state_buffers),
      count_(static_cast<int>(config.spec.workers)),
      here_(config.here.value_or(Range{0, count_})),
      writes_(config.writes),
      ranges_(config.ranges) {
  if (config.spec.outer_optimizer) {
    outer_ = *config.spec.outer_optimizer;
    outer_lr_ = base_lr(*config.spec.outer_optimizer);
  }
  const auto bytes = [this](int vectors) { return static_cast<std::size_t>(vectors * room_) * sizeof(float); };
  weights_ = config.weights(bytes(1 + here_.count()));
  const int states = (outer_ ? dptrain::state_buffers(*outer_) : 0) + here_.count() * state_buffers_;
  if (states > 0) states_ = config.states(bytes(states));
}

float* Workers::values(int worker, int which) const {
  const int place = worker - here_.first;
  DPTRAIN_CHECK(worker >= here_.first && worker < here_.last, "worker {} is elsewhere", worker);
  if (which == 0) return weights_.floats() + (1 + place) * room_;
  const int outer = outer_ ? dptrain::state_buffers(*outer_) : 0;
  return states_.floats() + (outer + place * state_buffers_ + which - 1) * room_;
}

std::span<float> Workers::part(float* values, std::int64_t offset, std::int64_t count) const {
  return {values + offset, static_cast<std::size_t>(count)};
}

void Workers::load(float* to, const float* from) const {
  if (writes_) std::copy_n(from, floats_, to);
}

void Workers::load(const float* parameters) {
  load(average_weights(), parameters);
}

void Workers::save(float* parameters) const {
  std::copy_n(average_weights(), floats_, parameters);
}

void Workers::load_state(int k, const float* from) {
  load(state(here_.first, k), from);
}

void Workers::save_state(int k, float* to) const {
  std::copy_n(state(here_.first, k), floats_, to);
}

void Workers::set_out(bool with_state_of_first) {
  for (int worker = here_.first; worker < here_.last; ++worker) {
    load(values(worker, 0), average_weights());
    for (int k = 0; with_state_of_first && worker > here_.first && k < state_buffers_; ++k)
      load(state(worker, k), state(here_.first, k));
  }
}

void Workers::update(int worker, const UpdateRule& rule, float* gradient, std::int64_t samples,
                     std::optional<double> clip_norm) {
  const auto divisor = static_cast<float>(samples);
  for (std::int64_t i = 0; i < floats_; ++i) gradient[i] = gradient[i] / divisor;
  if (clip_norm) {
    const float factor = clip_factor(norm(ranges_, gradient, floats_), *clip_norm);
    clip_trained(ranges_, 0, factor, {gradient, static_cast<std::size_t>(floats_)}, gradient);
  }
  const auto of = [&](int k) { return k < state_buffers_ ? part(state(worker, k), 0, floats_) : std::span<float>(); };
  apply_update(rule, ranges_, 0, part(values(worker, 0), 0, floats_), {gradient, static_cast<std::size_t>(floats_)},
               of(0), of(1));
}

int Workers::chunks() const {
  return static_cast<int>((floats_ + kChunk - 1) / kChunk);
}

void Workers::take_average(Range chunks, std::span<const std::int64_t> samples, std::int64_t averages) {
  std::vector<const float*> parts(static_cast<std::size_t>(count_));
  alignas(64) float mean[kChunk];
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    for (int which = 0; which < averaged(); ++which) {
      for (int k = 0; k < count_; ++k) parts[static_cast<std::size_t>(k)] = values(k, which) + offset;
      weighted_mean(parts, samples, count, mean);
      take(which, offset, {mean, static_cast<std::size_t>(count)}, averages);
    }
  }
}

void Workers::take(int which, std::int64_t offset, std::span<float> mean, std::int64_t averages) {
  const auto to_all = [&](int number, const float* from) {
    for (int worker = here_.first; worker < here_.last; ++worker)
      std::memcpy(values(worker, number) + offset, from, mean.size_bytes());
  };
  if (which != 0) return to_all(which, mean.data());
  if (outer_)
    outer_step(rule_of(*outer_, averages, outer_lr_), offset, mean);
  else
    std::copy(mean.begin(), mean.end(), average_weights() + offset);
  to_all(0, average_weights() + offset);
  if (state_rule_ != WorkerState::reset) return;
  std::fill(mean.begin(), mean.end(), 0.0F);
  for (int k = 0; k < state_buffers_; ++k) to_all(1 + k, mean.data());
}

void Workers::outer_step(const UpdateRule& rule, std::int64_t offset, std::span<float> mean) {
  for_each_range(ranges_, offset, static_cast<std::int64_t>(mean.size()),
                 [&](const UpdateRange& range, std::size_t first, std::size_t count) {
                   const std::int64_t begin = offset + static_cast<std::int64_t>(first);
                   const auto n = static_cast<std::int64_t>(count);
                   const auto of = [&](int k) {
                     return k < dptrain::state_buffers(*outer_) ? part(outer_state(k), begin, n) : std::span<float>();
                   };
                   const std::span<float> found = mean.subspan(first, count),
                                          average = part(average_weights(), begin, n);
                   if (range.treatment == Treatment::statistic) {
                     if (range.statistic_rate == 0) return;
                     std::copy(found.begin(), found.end(), average.begin());
                     return;
                   }
                   // How far the workers have gone, downhill, is the gradient of the outer step.
                   for (std::size_t i = 0; i < count; ++i) found[i] = average[i] - found[i];
                   apply_update(rule_for(range, rule), average, found, of(0), of(1));
                 });
}

}  // namespace dptrain

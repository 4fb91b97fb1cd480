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

Workers::Workers(const LocalSgdSpec& spec, std::int64_t floats, int state_buffers, UpdateRanges ranges,
                 const Allocate& allocate)
    : state_rule_(spec.worker_state),
      floats_(floats),
      state_buffers_(state_buffers),
      ranges_(std::move(ranges)),
      workers_(static_cast<std::size_t>(spec.workers)),
      average_(allocate(static_cast<std::size_t>(floats) * sizeof(float))) {
  for (Worker& worker : workers_) {
    worker.weights = allocate(average_.size());
    for (int k = 0; k < state_buffers; ++k) worker.state[k] = Buffer::host_floats(floats);
  }
  if (!spec.outer_optimizer) return;
  outer_ = make_optimizer(*spec.outer_optimizer);
  outer_lr_ = base_lr(*spec.outer_optimizer);
  for (int k = 0; k < outer_->state_buffers(); ++k) outer_state_[k] = Buffer::host_floats(floats);
}

std::span<float> Workers::part(const Buffer& buffer, std::int64_t offset, std::int64_t count) const {
  if (buffer.size() == 0) return {};
  return {buffer.floats() + offset, static_cast<std::size_t>(count)};
}

void Workers::load(const float* parameters) {
  std::copy_n(parameters, floats_, average());
}

void Workers::save(float* parameters) const {
  std::copy_n(average(), floats_, parameters);
}

void Workers::load_state(int k, const float* from) {
  std::copy_n(from, floats_, state(0, k));
}

void Workers::save_state(int k, float* to) const {
  std::copy_n(state(0, k), floats_, to);
}

void Workers::set_out(bool with_state_of_first) {
  for (Worker& worker : workers_) {
    std::memcpy(worker.weights.data(), average_.data(), average_.size());
    for (int k = 0; with_state_of_first && &worker != &workers_.front() && k < state_buffers_; ++k)
      std::memcpy(worker.state[k].data(), workers_.front().state[k].data(), worker.state[k].size());
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
  const Worker& w = workers_[static_cast<std::size_t>(worker)];
  apply_update(rule, ranges_, 0, part(w.weights, 0, floats_), {gradient, static_cast<std::size_t>(floats_)},
               part(w.state[0], 0, floats_), part(w.state[1], 0, floats_));
}

int Workers::chunks() const {
  return static_cast<int>((floats_ + kChunk - 1) / kChunk);
}

void Workers::average(Range chunks, std::span<const std::int64_t> samples, std::int64_t averages) {
  std::vector<const float*> parts(workers_.size());
  alignas(64) float mean[kChunk];
  for (int chunk = chunks.first; chunk < chunks.last; ++chunk) {
    const std::int64_t offset = chunk * kChunk, count = std::min(kChunk, floats_ - offset);
    for (std::size_t k = 0; k < parts.size(); ++k) parts[k] = workers_[k].weights.floats() + offset;
    float* average = average_.floats() + offset;
    if (outer_) {
      weighted_mean(parts, samples, count, mean);
      outer_step(outer_->rule(averages, outer_lr_), offset, {mean, static_cast<std::size_t>(count)});
    } else {
      weighted_mean(parts, samples, count, average);
    }
    for (Worker& worker : workers_)
      std::memcpy(worker.weights.floats() + offset, average, static_cast<std::size_t>(count) * sizeof(float));
    for (int k = 0; k < state_buffers_; ++k) average_state(k, offset, count, samples);
  }
}

void Workers::outer_step(const UpdateRule& rule, std::int64_t offset, std::span<float> mean) {
  for_each_range(ranges_, offset, static_cast<std::int64_t>(mean.size()),
                 [&](const UpdateRange& range, std::size_t first, std::size_t count) {
                   const std::int64_t begin = offset + static_cast<std::int64_t>(first);
                   const auto of = [&](const Buffer& buffer) {
                     return part(buffer, begin, static_cast<std::int64_t>(count));
                   };
                   const std::span<float> found = mean.subspan(first, count), average = of(average_);
                   if (range.treatment == Treatment::statistic) {
                     std::copy(found.begin(), found.end(), average.begin());
                     return;
                   }
                   // How far the workers have gone, downhill, is the gradient of the outer step.
                   for (std::size_t i = 0; i < count; ++i) found[i] = average[i] - found[i];
                   apply_update(rule_for(range, rule), average, found, of(outer_state_[0]), of(outer_state_[1]));
                 });
}

void Workers::average_state(int k, std::int64_t offset, std::int64_t count, std::span<const std::int64_t> samples) {
  if (state_rule_ == WorkerState::keep) return;
  alignas(64) float mean[kChunk] = {};
  if (state_rule_ == WorkerState::average) {
    std::vector<const float*> parts(workers_.size());
    for (std::size_t w = 0; w < parts.size(); ++w) parts[w] = workers_[w].state[k].floats() + offset;
    weighted_mean(parts, samples, count, mean);
  }
  for (Worker& worker : workers_)
    std::memcpy(worker.state[k].floats() + offset, mean, static_cast<std::size_t>(count) * sizeof(float));
}

}  // namespace dptrain

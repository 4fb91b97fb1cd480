#include "train/local_sgd/local_sgd.h"

#include <algorithm>

namespace dptrain {

LocalSgd::LocalSgd(const LocalSgdConfig& config)
    : spec(config.job.local_sgd),
      schedule(config.schedule),
      rounds{.warmup = spec.warmup_sync_steps, .every = spec.sync_every},
      first_step(config.first),
      averages(config.averages >= 0 ? config.averages : rounds.averages(config.first)),
      full(slice_step(schedule.full().samples, spec.workers, micro_batch_size(config.job, config.replicas))),
      last(slice_step(schedule.last().samples, spec.workers, micro_batch_size(config.job, config.replicas))),
      workers(config.workers),
      ends(static_cast<std::size_t>(std::min(spec.sync_every, schedule.steps()))),
      not_finite(static_cast<std::size_t>(config.replicas)) {
  const std::size_t most = std::max(full.micro_batches.size(), last.micro_batches.size());
  losses.resize(most * ends.size());
  times.resize(not_finite.size() * ends.size());
}

ToldStep LocalSgd::told(std::int64_t k) {
  const auto step = static_cast<std::size_t>(k);
  const auto of = [&](auto& all) {
    return std::span(all).subspan(step * all.size() / ends.size(), all.size() / ends.size());
  };
  return {of(losses), of(times), ends[step]};
}

std::vector<std::int64_t> LocalSgd::samples(std::int64_t first, std::int64_t end) const {
  std::vector<std::int64_t> sums(full.slices.size());
  for (std::int64_t step = first; step < end; ++step) {
    const std::vector<Slice>& slices = this->slices(step);
    for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += slices[k].samples;
  }
  return sums;
}

std::int64_t LocalSgd::updates(int worker, std::int64_t step) const {
  // An averaged state has seen what the busiest worker's has: those that idle in a short last step get its share too.
  if (spec.worker_state == WorkerState::average) return step;
  std::int64_t since = 0;
  if (spec.worker_state == WorkerState::reset) {
    // The last average; what warm-up leaves is no fresh start.
    since = std::max(rounds.first(step), begins_inside_a_round() ? first_step : 0);
    if (since == rounds.warmup) since = 0;
  }
  std::int64_t idle = 0;
  if (last.slices[static_cast<std::size_t>(worker)].samples == 0) {
    const std::int64_t from = std::max(since, rounds.warmup), epoch = schedule.steps_per_epoch();
    idle = step / epoch - from / epoch;  // last steps of epochs since then
  }
  return step - since - idle;
}

}  // namespace dptrain

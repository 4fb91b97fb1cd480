#include "train/local_sgd/local_steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/clock.h"
#include "train/batch_names.h"

namespace dptrain {

namespace {

/// Above the versions of any synchronous steps before.
constexpr std::int64_t kFirstVersion = std::int64_t{1} << 48;

}  // namespace

LocalSteps::LocalSteps(Run& run, LocalSgd& local, int rank, Replica& replica, std::int64_t first)
    : run_(run),
      local_(local),
      rank_(rank),
      replica_(replica),
      workers_(share(local.workers.count(), run.placement.replicas, rank)),
      floats_(replica.parameters().floats()),
      version_(kFirstVersion) {
  int most = 0, buffers = 0;
  for (const SlicedStep* step : {&local.full, &local.last}) {
    for (const Slice& slice : step->slices) most = std::max(most, slice.micro_batches.count());
  }
  for (int count = 0; count <= most; ++count) {
    programs_.push_back(replica_program(count, {0, count}));
    buffers = std::max(buffers, programs_.back().buffers);
  }
  for (int k = 0; k < buffers; ++k)
    gradients_.push_back(run.backend->host_buffer(static_cast<std::size_t>(floats_) * sizeof(float)));
  if (replica.needs_batches())
    loader_ = std::make_unique<Loader>(*run.data.train, source(first), run.schedule.largest_batch(),
                                       run.job.data.prefetch, loader_workers(run), run.backend->host_allocator());
}

Loader::Source LocalSteps::source(std::int64_t first) const {
  return [this, names = BatchNames(run_.job, run_.schedule, run_.data.train->size()), step = first,
          worker = workers_.first, next = 0](std::span<std::int64_t> ids) mutable -> Loader::Named {
    for (; step < run_.schedule.steps(); ++step, worker = workers_.first) {
      for (; worker < workers_.last; ++worker, next = 0) {
        const Range& slice = local_.slices(step)[static_cast<std::size_t>(worker)].micro_batches;
        if (next == slice.count()) continue;
        const int micro_batch = slice.first + next++;
        return names.name(step, run_.schedule.plan(step).micro_batches[static_cast<std::size_t>(micro_batch)], ids);
      }
    }
    return 0;
  };
}

void LocalSteps::take(std::int64_t step, const ToldStep& told) {
  Replica::Times times;
  try {
    if (run_.watchdog) run_.watchdog->begin(rank_, step);
    if (run_.leads(rank_)) run_.processes.at_step(step);
    run_.drills.before(rank_, step);
    poison_ = run_.drills.poisons(rank_, step);
    for (int worker = workers_.first; worker < workers_.last; ++worker) {
      if (!update(worker, step, told, times)) break;
    }
    linger(run_.drills.slowness(rank_, step), times);
    if (run_.watchdog) run_.watchdog->end(rank_);
  } catch (const GroupAborted&) {
    throw;
  } catch (...) {
    if (run_.watchdog) run_.watchdog->end(rank_);
    run_.faults.failed(rank_, step, std::current_exception());
    throw replica_error(rank_, step, std::current_exception());
  }
  told.times[static_cast<std::size_t>(rank_)] = {.data = times.data, .compute = times.compute, .reduce = times.reduce};
  if (run_.leads(rank_)) told.end = steady_seconds();
}

bool LocalSteps::update(int worker, std::int64_t step, const ToldStep& told, Replica::Times& times) {
  const Slice& slice = local_.slices(step)[static_cast<std::size_t>(worker)];
  if (slice.samples == 0) return true;
  for (const auto& instruction : programs_[static_cast<std::size_t>(slice.micro_batches.count())].instructions) {
    float* target = gradients_[static_cast<std::size_t>(instruction.buffer)].floats();
    if (instruction.kind == ReplicaProgram::Instruction::Kind::run) {
      const int micro_batch = slice.micro_batches.first + instruction.micro_batch;
      if (!gradient(worker, micro_batch, step, target, told, times)) return false;
      continue;
    }
    const double start = steady_seconds();
    const float* other = gradients_[static_cast<std::size_t>(instruction.buffer) + 1].floats();
    for (std::int64_t i = 0; i < floats_; ++i) target[i] += other[i];
    times.reduce += steady_seconds() - start;
  }
  const double start = steady_seconds();
  local_.workers.update(worker, rule_of(run_.job.train.optimizer, local_.updates(worker, step), run_.lr(step)),
                        gradients_.front().floats(), slice.samples, run_.job.train.clip_norm);
  ++version_;
  times.reduce += steady_seconds() - start;
  return true;
}

bool LocalSteps::gradient(int worker, int micro_batch, std::int64_t step, float* out, const ToldStep& told,
                          Replica::Times& times) {
  const auto k = static_cast<std::size_t>(micro_batch);
  const MicroBatch& part = run_.schedule.plan(step).micro_batches[k];
  const double start = steady_seconds();
  const Batch* batch = loader_ ? &loader_->next() : nullptr;
  times.data += steady_seconds() - start;
  const Replica::Gradient result = replica_.gradient({.step = step,
                                                      .first = part.first,
                                                      .count = part.count,
                                                      .weights = local_.workers.weights(worker),
                                                      .version = version_,
                                                      .gradient = out,
                                                      .poison = std::exchange(poison_, false),
                                                      .batch = batch});
  if (loader_) loader_->release();
  times.data += result.data;
  times.compute += result.compute;
  told.losses[k] = result.loss;
  if (result.is_finite()) return true;
  for (std::int64_t first = local_.not_finite_at;
       step < first && !local_.not_finite_at.compare_exchange_weak(first, step);) {
  }
  local_.not_finite[static_cast<std::size_t>(rank_)] = {.step = step,
                                                        .worker = worker,
                                                        .micro_batch = micro_batch,
                                                        .replica = rank_,
                                                        .loss = !std::isfinite(result.loss.loss)};
  return false;
}

}  // namespace dptrain

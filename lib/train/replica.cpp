#include "train/replica.h"

#include <algorithm>
#include <numeric>

#include "core/clock.h"

namespace dptrain {

namespace {

using Kind = ReplicaProgram::Instruction::Kind;

}  // namespace

std::int64_t evaluation_chunk(const RunSchedule& schedule, std::int64_t test_samples) {
  constexpr std::int64_t kSmallest = 64;  // tiny micro-batches would make evaluation needlessly slow
  return std::min(std::max(schedule.full().micro_batches.front().count, kSmallest), test_samples);
}

Replica::Replica(const Config& config)
    : config_(config),
      sampler_(config.data.train->size(), config.job.seed, config.job.train.shuffle),
      kernels_(make_cpu_kernels()),
      chunk_(evaluation_chunk(config.schedule, config.data.test->size())) {
  std::vector<std::int64_t> batches = config.schedule.batch_sizes();
  const std::int64_t full_batch = batches.front();
  for (const std::int64_t size : {chunk_, config.data.test->size() % chunk_}) {
    if (size > 0 && std::find(batches.begin(), batches.end(), size) == batches.end()) batches.push_back(size);
  }
  model_ = std::make_unique<Model>(config.job.model, *kernels_, full_batch);
  model_->prepare(batches);

  const auto rank = static_cast<std::size_t>(config.rank);
  const int buffers =
      std::max(config.schedule.full().programs[rank].buffers, config.schedule.last().programs[rank].buffers);
  for (int b = 0; b < buffers; ++b) {
    gradients_.push_back(Buffer::host_floats(model_->parameters().floats()));
    gradient_views_.push_back(gradients_.back().floats());
  }
  loader_ = std::make_unique<Loader>(*config.data.train, source(config.first_step), config.schedule.largest_batch(),
                                     config.job.data.prefetch, config.loader_worker);
  chunk_ids_.resize(static_cast<std::size_t>(chunk_));
  chunk_labels_.resize(static_cast<std::size_t>(chunk_));
  chunk_samples_ = Buffer::host_floats(chunk_ * config.data.test->shape().elements());
}

Loader::Source Replica::source(std::int64_t first_step) const {
  return [&schedule = config_.schedule, sampler = sampler_, rank = static_cast<std::size_t>(config_.rank),
          step = first_step, next = std::size_t{0}](std::span<std::int64_t> ids) mutable -> std::size_t {
    for (; step < schedule.steps(); ++step, next = 0) {
      const StepPlan& plan = schedule.plan(step);
      const auto& instructions = plan.programs[rank].instructions;
      while (next < instructions.size() && instructions[next].kind != Kind::run) ++next;
      if (next == instructions.size()) continue;
      const MicroBatch& batch = plan.micro_batches[static_cast<std::size_t>(instructions[next++].micro_batch)];
      const auto count = static_cast<std::size_t>(batch.count);
      sampler.order(schedule.epoch(step), schedule.first_sample(step) + batch.first, ids.first(count));
      return count;
    }
    return 0;
  };
}

Replica::Times Replica::run(std::int64_t step, std::vector<LossSum>& losses) {
  Times times;
  const std::int64_t floats = model_->parameters().floats();
  for (const auto& instruction :
       config_.schedule.plan(step).programs[static_cast<std::size_t>(config_.rank)].instructions) {
    float* target = gradient_views_[static_cast<std::size_t>(instruction.buffer)];
    const double start = steady_seconds();
    if (instruction.kind == Kind::add) {
      const float* other = gradient_views_[static_cast<std::size_t>(instruction.buffer) + 1];
      for (std::int64_t i = 0; i < floats; ++i) target[i] += other[i];
      times.reduce += steady_seconds() - start;
      continue;
    }
    const Batch& batch = loader_->next();
    const double loaded = steady_seconds();
    losses[static_cast<std::size_t>(instruction.micro_batch)] =
        model_->train(config_.job.seed, step, batch.ids, batch.samples, batch.labels, target);
    loader_->release();
    times.data += loaded - start;
    times.compute += steady_seconds() - loaded;
  }
  return times;
}

bool Replica::evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) {
  const Dataset& test = *config_.data.test;
  for (std::size_t c = static_cast<std::size_t>(config_.rank); c < sums.size();
       c += static_cast<std::size_t>(config_.replicas)) {
    if (give_up()) return false;
    const std::int64_t first = static_cast<std::int64_t>(c) * chunk_;
    const auto count = static_cast<std::size_t>(std::min(chunk_, test.size() - first));
    const std::span<std::int64_t> ids(chunk_ids_.data(), count);
    std::iota(ids.begin(), ids.end(), first);
    test.gather(ids, chunk_samples_.floats(), chunk_labels_.data());
    sums[c] = model_->evaluate(step, ids, chunk_samples_.floats(), chunk_labels_.data());
  }
  return true;
}

}  // namespace dptrain

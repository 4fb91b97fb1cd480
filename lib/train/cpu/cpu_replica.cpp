#include "train/cpu/cpu_replica.h"

#include <algorithm>
#include <numeric>

#include "core/clock.h"

namespace dptrain {

namespace {

using Kind = ReplicaProgram::Instruction::Kind;

}  // namespace

CpuReplica::CpuReplica(const Config& config)
    : config_(config),
      kernels_(make_cpu_kernels()),
      losses_(config.schedule.full().micro_batches.size()),
      chunk_(evaluation_chunk(config.schedule, config.data.test->size())) {
  const std::vector<std::int64_t> batches = batch_sizes(config);
  model_ = std::make_unique<Model>(config.job.model, *kernels_, batches.front());
  model_->prepare(batches);

  const auto rank = static_cast<std::size_t>(config.rank);
  const int buffers =
      std::max(config.schedule.full().programs[rank].buffers, config.schedule.last().programs[rank].buffers);
  for (int b = 0; b < buffers; ++b) {
    gradients_.push_back(Buffer::host_floats(model_->parameters().floats()));
    gradient_views_.push_back(gradients_.back().floats());
  }
  loader_ = std::make_unique<Loader>(*config.data.train, micro_batch_source(config_), config.schedule.largest_batch(),
                                     config.job.data.prefetch, config.loader_workers);
  chunk_ids_.resize(static_cast<std::size_t>(chunk_));
  chunk_labels_.resize(static_cast<std::size_t>(chunk_));
  chunk_samples_ = Buffer::host_floats(chunk_ * config.data.test->shape().elements());
}

Replica::Times CpuReplica::run(std::int64_t step) {
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
    losses_[static_cast<std::size_t>(instruction.micro_batch)] =
        model_->train(config_.job.seed, step, batch.ids, batch.samples, batch.labels, target);
    loader_->release();
    times.data += loaded - start;
    times.compute += steady_seconds() - loaded;
  }
  return times;
}

void CpuReplica::collect(std::int64_t step, std::vector<LossSum>& losses) {
  for (const auto& instruction :
       config_.schedule.plan(step).programs[static_cast<std::size_t>(config_.rank)].instructions) {
    const auto k = static_cast<std::size_t>(instruction.micro_batch);
    if (instruction.kind == Kind::run) losses[k] = losses_[k];
  }
}

bool CpuReplica::evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) {
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

#include "train/cpu/cpu_replica.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/clock.h"
#include "core/error.h"
#include "core/magnitude.h"
#include "train/faults/drills.h"

namespace dptrain {

namespace {

using Kind = ReplicaProgram::Instruction::Kind;

}  // namespace

CpuReplica::CpuReplica(const Config& config)
    : config_(config),
      assignment_(equal_shares(config.schedule, config.replicas)),
      kernels_(make_cpu_kernels()),
      losses_(config.schedule.full().micro_batches.size()),
      chunk_(evaluation_chunk(config.schedule, config.data.test->size())) {
  const std::vector<std::int64_t> batches = batch_sizes(config);
  model_ =
      std::make_unique<Model>(config.job.model, *kernels_, batches.front(), compute_type(config.job.train.precision));
  model_->prepare(batches, config.job.evaluate.views);

  if (config.steps) prepare_steps();
  chunk_ids_.resize(static_cast<std::size_t>(chunk_));
  chunk_labels_.resize(static_cast<std::size_t>(chunk_));
  chunk_samples_ = Buffer::host_floats(chunk_ * config.data.test->shape().elements());
}

void CpuReplica::bind(const float* weights) {
  model_->bind(weights);
  if (lockstep_) lockstep_->bind(weights);
}

void CpuReplica::prepare_steps() {
  int buffers = 0, most = 1;
  for (const StepPlan* plan : {&config_.schedule.full(), &config_.schedule.last()}) {
    const int count = static_cast<int>(plan->micro_batches.size());
    const ReplicaProgram& program = plan->programs[static_cast<std::size_t>(config_.rank)];
    buffers = std::max(buffers, config_.reassigned ? buffers_for_any_range(count) : program.buffers);
    most = std::max(most, config_.reassigned ? count : micro_batches_of(program));
  }
  DPTRAIN_CHECK(model_->pieces() == 1 || config_.exchange != nullptr, "norms over a step have nowhere to meet");
  if (config_.exchange != nullptr) lockstep_.emplace(config_, *kernels_, *model_, most);
  for (int b = 0; b < buffers; ++b) {
    const std::int64_t floats = model_->parameters().floats();
    gradients_.push_back(config_.gradient_memory ? config_.gradient_memory(b, floats) : Buffer::host_floats(floats));
    gradient_views_.push_back(gradients_.back().floats());
  }
  loader_ =
      std::make_unique<Loader>(*config_.data.train, micro_batch_source(config_, assignment_, config_.first_step),
                               config_.schedule.largest_batch(), config_.job.data.prefetch, config_.loader_workers);
}

CpuReplica::OwnBatch::OwnBatch(const Config& config)
    : names(config.job, config.schedule, config.data.train->size()),
      ids(static_cast<std::size_t>(config.schedule.largest_batch())),
      labels(ids.size()),
      samples(Buffer::host_floats(config.schedule.largest_batch() * config.data.train->shape().elements())) {}

Batch CpuReplica::load(const GradientTask& task) {
  if (!own_) own_.emplace(config_);
  const Loader::Named named = own_->names.name(task.step, {task.first, task.count}, own_->ids);
  return gather_named(*config_.data.train, named, own_->ids, own_->samples.floats(), own_->labels.data());
}

Replica::Gradient CpuReplica::gradient(const GradientTask& task) {
  Gradient result;
  const double start = steady_seconds();
  const Batch batch = task.batch != nullptr ? *task.batch : load(task);
  const double loaded = steady_seconds();
  model_->bind(task.weights);
  result.loss = train({.step = task.step, .weights = task.version, .poison = task.poison}, true, batch, task.gradient);
  result.largest = largest_magnitude(task.gradient, model_->parameters().floats());
  result.data = loaded - start;
  result.compute = steady_seconds() - loaded;
  return result;
}

void CpuReplica::assign(std::shared_ptr<const Assignment> assignment, std::int64_t step) {
  for (const StepPlan* plan : {&assignment->full(), &assignment->last()}) {
    const int needed = plan->programs[static_cast<std::size_t>(config_.rank)].buffers;
    DPTRAIN_CHECK(static_cast<std::size_t>(needed) <= gradients_.size(), "{} gradient buffers for a program of {}",
                  gradients_.size(), needed);
    const int micro_batches = micro_batches_of(plan->programs[static_cast<std::size_t>(config_.rank)]);
    DPTRAIN_CHECK(!lockstep_ || micro_batches <= lockstep_->most(), "room for {} micro-batches, not {}",
                  lockstep_->most(), micro_batches);
  }
  assignment_ = std::move(assignment);
  loader_->restart(micro_batch_source(config_, assignment_, step));
}

LossSum CpuReplica::train(const StepTask& task, bool first, const Batch& batch, float* gradient) {
  const LossSum loss =
      model_->train(config_.job.seed, task.step, batch.ids, batch.samples, batch.labels, gradient, task.weights);
  if (task.poison && first) gradient[0] = std::numeric_limits<float>::quiet_NaN();
  return loss;
}

Replica::Times CpuReplica::run_in_lockstep(const StepTask& task) {
  Times times;
  const ReplicaProgram& mine = program(task.step);
  const double start = steady_seconds();
  for (int k = 0; k < micro_batches_of(mine); ++k) {
    lockstep_->take(k, loader_->next());
    loader_->release();
  }
  times.data = steady_seconds() - start;
  lockstep_->run(task, assignment_->plan(task.step), gradient_views_, losses_, times);
  bound_ = 0;
  for (std::size_t root = 0; root < mine.roots.size(); ++root)
    bound_ += largest_magnitude(gradient_views_[root], model_->parameters().floats());
  return times;
}

Replica::Times CpuReplica::run(const StepTask& task) {
  Times times = lockstep_ ? run_in_lockstep(task) : run_one_by_one(task);
  linger(task.slow, times);
  busy_ = times.data + times.compute + times.reduce;
  return times;
}

Replica::Times CpuReplica::run_one_by_one(const StepTask& task) {
  Times times;
  bool first = true;
  const std::int64_t floats = model_->parameters().floats();
  bound_ = 0;
  for (const auto& instruction : program(task.step).instructions) {
    float* target = gradient_views_[static_cast<std::size_t>(instruction.buffer)];
    const double start = steady_seconds();
    if (instruction.kind == Kind::run) {
      const Batch& batch = loader_->next();
      const double loaded = steady_seconds();
      losses_[static_cast<std::size_t>(instruction.micro_batch)] = train(task, first, batch, target);
      loader_->release();
      first = false;
      if (instruction.completes_root) bound_ += largest_magnitude(target, floats);
      times.data += loaded - start;
      times.compute += steady_seconds() - loaded;
      continue;
    }
    const float* other = gradient_views_[static_cast<std::size_t>(instruction.buffer) + 1];
    if (instruction.completes_root) {
      bound_ += add_and_find_largest(target, other, floats);
    } else {
      for (std::int64_t i = 0; i < floats; ++i) target[i] += other[i];
    }
    times.reduce += steady_seconds() - start;
  }
  return times;
}

std::optional<NotFinite> CpuReplica::diagnose(const StepTask& task) {
  const StepPlan& plan = assignment_->plan(task.step);
  if (lockstep_) return lockstep_->diagnose(task, plan, gradient_views_.front());
  const Sampler sampler(config_.data.train->size(), config_.job.seed, config_.job.train.shuffle);
  const auto most = static_cast<std::size_t>(config_.schedule.largest_batch());
  std::vector<std::int64_t> ids(most);
  std::vector<std::int32_t> labels(most);
  const Buffer samples = Buffer::host_floats(config_.schedule.largest_batch() * config_.data.train->shape().elements());
  bool first = true;
  for (const auto& instruction : program(task.step).instructions) {
    if (instruction.kind != Kind::run) continue;
    const MicroBatch& part = plan.micro_batches[static_cast<std::size_t>(instruction.micro_batch)];
    const std::span<std::int64_t> here(ids.data(), static_cast<std::size_t>(part.count));
    sampler.order(config_.schedule.epoch(task.step), config_.schedule.first_sample(task.step) + part.first, here);
    config_.data.train->gather_augmented(here, augmentation(config_, task.step), samples.floats(), labels.data());
    float* gradient = gradient_views_.front();
    const LossSum loss = train(task, first, {here, samples.floats(), labels.data()}, gradient);
    first = false;
    NotFinite found{.micro_batch = instruction.micro_batch, .loss = !std::isfinite(loss.loss), .parameter = {}};
    if (const Parameter* parameter = first_not_finite(model_->parameters(), gradient))
      found.parameter = parameter->name;
    if (found.loss || !found.parameter.empty()) return found;
  }
  return std::nullopt;
}

double CpuReplica::collect(std::int64_t step, std::vector<LossSum>& losses) {
  for (const auto& instruction : program(step).instructions) {
    const auto k = static_cast<std::size_t>(instruction.micro_batch);
    if (instruction.kind == Kind::run) losses[k] = losses_[k];
  }
  return busy_;
}

bool CpuReplica::evaluate(std::int64_t step, std::vector<LossSum>& sums, const std::function<bool()>& give_up) {
  const Dataset& test = *config_.data.test;
  // Whose the weights are, the average's or the store's, the step does not tell: each evaluation is a version of its
  // own.
  const std::int64_t weights = --evaluated_;
  for (auto c = static_cast<std::size_t>(assignment_->able_before(config_.rank)); c < sums.size();
       c += static_cast<std::size_t>(assignment_->able())) {
    if (give_up()) return false;
    const std::int64_t first = static_cast<std::int64_t>(c) * chunk_;
    const auto count = static_cast<std::size_t>(std::min(chunk_, test.size() - first));
    const std::span<std::int64_t> ids(chunk_ids_.data(), count);
    std::iota(ids.begin(), ids.end(), first);
    test.gather(ids, chunk_samples_.floats(), chunk_labels_.data());
    sums[c] = model_->evaluate(step, ids, chunk_samples_.floats(), chunk_labels_.data(), weights);
  }
  return true;
}

}  // namespace dptrain

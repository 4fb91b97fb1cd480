#include "train/replica.h"

#include <algorithm>

#include "core/error.h"
#include "core/magnitude.h"

namespace dptrain {

std::int64_t evaluation_chunk(const RunSchedule& schedule, std::int64_t test_samples) {
  constexpr std::int64_t kSmallest = 64;  // tiny micro-batches would make evaluation needlessly slow
  return std::min(std::max(schedule.full().micro_batches.front().count, kSmallest), test_samples);
}

const Parameter* first_not_finite(const ParameterTable& table, const float* gradient) {
  const auto& all = table.all();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Parameter& parameter) {
    return !std::isfinite(largest_magnitude(gradient + parameter.offset, parameter.desc.stored_floats));
  });
  return found == all.end() ? nullptr : &*found;
}

Replica::Gradient Replica::gradient(const GradientTask&) {
  DPTRAIN_CHECK(false, "a replica of this kind takes whole steps");
}

void Replica::assign(std::shared_ptr<const Assignment>, std::int64_t) {
  DPTRAIN_CHECK(false, "a replica of this kind keeps its micro-batches");
}

std::shared_ptr<const Assignment> equal_shares(const RunSchedule& schedule, int replicas) {
  return std::make_shared<const Assignment>(schedule, std::vector<double>(static_cast<std::size_t>(replicas), 1.0));
}

RandomStream augmentation(const Replica::Config& config, std::int64_t step) {
  return {config.job.seed, RandomPurpose::augment, 0, static_cast<std::uint64_t>(config.schedule.epoch(step))};
}

Loader::Source micro_batch_source(const Replica::Config& config) {
  return micro_batch_source(config, equal_shares(config.schedule, config.replicas), config.first_step);
}

Loader::Source micro_batch_source(const Replica::Config& config, std::shared_ptr<const Assignment> assignment,
                                  std::int64_t step) {
  using Kind = ReplicaProgram::Instruction::Kind;
  const Sampler sampler(config.data.train->size(), config.job.seed, config.job.train.shuffle);
  return [&config, &schedule = config.schedule, assignment = std::move(assignment), sampler,
          rank = static_cast<std::size_t>(config.rank), step,
          next = std::size_t{0}](std::span<std::int64_t> ids) mutable -> Loader::Named {
    for (; step < schedule.steps(); ++step, next = 0) {
      const StepPlan& plan = assignment->plan(step);
      const auto& instructions = plan.programs[rank].instructions;
      while (next < instructions.size() && instructions[next].kind != Kind::run) ++next;
      if (next == instructions.size()) continue;
      const MicroBatch& batch = plan.micro_batches[static_cast<std::size_t>(instructions[next++].micro_batch)];
      const auto count = static_cast<std::size_t>(batch.count);
      sampler.order(schedule.epoch(step), schedule.first_sample(step) + batch.first, ids.first(count));
      return {count, augmentation(config, step)};
    }
    return 0;
  };
}

namespace {

void add_size(std::int64_t size, std::vector<std::int64_t>& sizes) {
  if (size > 0 && std::find(sizes.begin(), sizes.end(), size) == sizes.end()) sizes.push_back(size);
}

}  // namespace

std::vector<std::int64_t> batch_sizes(const RunSchedule& schedule, std::int64_t test_samples) {
  std::vector<std::int64_t> sizes = schedule.batch_sizes();
  const std::int64_t chunk = evaluation_chunk(schedule, test_samples);
  add_size(chunk, sizes);
  add_size(test_samples % chunk, sizes);
  return sizes;
}

std::vector<std::int64_t> batch_sizes(const Replica::Config& config) {
  std::vector<std::int64_t> sizes = batch_sizes(config.schedule, config.data.test->size());
  for (const std::int64_t size : config.single_sizes) add_size(size, sizes);
  return sizes;
}

}  // namespace dptrain

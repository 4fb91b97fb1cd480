#include "train/replica.h"

#include <algorithm>

namespace dptrain {

std::int64_t evaluation_chunk(const RunSchedule& schedule, std::int64_t test_samples) {
  constexpr std::int64_t kSmallest = 64;  // tiny micro-batches would make evaluation needlessly slow
  return std::min(std::max(schedule.full().micro_batches.front().count, kSmallest), test_samples);
}

Loader::Source micro_batch_source(const Replica::Config& config) {
  using Kind = ReplicaProgram::Instruction::Kind;
  const Sampler sampler(config.data.train->size(), config.job.seed, config.job.train.shuffle);
  return [&schedule = config.schedule, sampler, rank = static_cast<std::size_t>(config.rank), step = config.first_step,
          seed = config.job.seed, next = std::size_t{0}](std::span<std::int64_t> ids) mutable -> Loader::Named {
    for (; step < schedule.steps(); ++step, next = 0) {
      const StepPlan& plan = schedule.plan(step);
      const auto& instructions = plan.programs[rank].instructions;
      while (next < instructions.size() && instructions[next].kind != Kind::run) ++next;
      if (next == instructions.size()) continue;
      const MicroBatch& batch = plan.micro_batches[static_cast<std::size_t>(instructions[next++].micro_batch)];
      const auto count = static_cast<std::size_t>(batch.count);
      sampler.order(schedule.epoch(step), schedule.first_sample(step) + batch.first, ids.first(count));
      return {count, RandomStream(seed, RandomPurpose::augment, 0, static_cast<std::uint64_t>(schedule.epoch(step)))};
    }
    return 0;
  };
}

std::vector<std::int64_t> batch_sizes(const Replica::Config& config) {
  std::vector<std::int64_t> sizes = config.schedule.batch_sizes();
  const std::int64_t test_samples = config.data.test->size();
  const std::int64_t chunk = evaluation_chunk(config.schedule, test_samples);
  for (const std::int64_t size : {chunk, test_samples % chunk}) {
    if (size > 0 && std::find(sizes.begin(), sizes.end(), size) == sizes.end()) sizes.push_back(size);
  }
  return sizes;
}

}  // namespace dptrain

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <set>

#include "train/schedule.h"

namespace dptrain {

namespace {

JobSpec job_of(std::int64_t global, std::optional<std::int64_t> micro, std::int64_t steps) {
  JobSpec job;
  job.train.global_batch_size = global;
  job.train.micro_batch_size = micro;
  job.train.steps = steps;
  return job;
}

}  // namespace

TEST_CASE("an epoch's micro-batches hold every position exactly once; only the last step may be short") {
  CHECK(rc::check([] {
    const auto samples = *rc::gen::inRange<std::int64_t>(1, 500);
    const auto global = *rc::gen::inRange<std::int64_t>(1, 200);
    const auto micro = *rc::gen::inRange<std::int64_t>(1, 60);
    const int replicas = *rc::gen::inRange(1, 7);
    JobSpec job = job_of(global, micro, 1000000);
    // A larger slice of a worker may be cut in smaller parts than a smaller one: the first micro-batch is not always
    // the largest.
    if (const auto workers = *rc::gen::inRange<std::int64_t>(0, 12);
        workers >= replicas && workers <= std::min(samples, global)) {
      job.mode = Mode::local_sgd;
      job.local_sgd.workers = workers;
    }
    const RunSchedule schedule(job, samples, replicas);
    const std::vector<std::int64_t> sizes = schedule.batch_sizes();
    RC_ASSERT(sizes.front() == schedule.full().micro_batches.front().count);
    RC_ASSERT(std::set<std::int64_t>(sizes.begin(), sizes.end()).size() == sizes.size());

    std::int64_t next = 0;
    const std::int64_t first_step = 2 * schedule.steps_per_epoch();  // of the third epoch
    for (std::int64_t step = first_step; step < first_step + schedule.steps_per_epoch(); ++step) {
      const StepPlan& plan = schedule.plan(step);
      RC_ASSERT(schedule.epoch(step) == 2);
      RC_ASSERT(schedule.first_sample(step) == next);
      RC_ASSERT(schedule.samples_before(step) == 2 * samples + next);
      const bool last = step + 1 == first_step + schedule.steps_per_epoch();
      RC_ASSERT(plan.samples == (last ? samples - next : global));
      std::int64_t within = 0;
      for (const MicroBatch& batch : plan.micro_batches) {
        RC_ASSERT(batch.first == within);
        RC_ASSERT(std::find(sizes.begin(), sizes.end(), batch.count) != sizes.end());
        RC_ASSERT(batch.count <= schedule.largest_batch());
        within += batch.count;
      }
      RC_ASSERT(within == plan.samples);
      next += plan.samples;

      std::multiset<int> run;
      for (const ReplicaProgram& program : plan.programs) {
        for (const auto& instruction : program.instructions) {
          if (instruction.kind == ReplicaProgram::Instruction::Kind::run) run.insert(instruction.micro_batch);
        }
      }
      RC_ASSERT(run.size() == plan.micro_batches.size());
      RC_ASSERT(std::set<int>(run.begin(), run.end()).size() == run.size());
    }
    RC_ASSERT(next == samples);
  }));
}

TEST_CASE("steps: as given, or epochs rounded to steps, at least one") {
  JobSpec job = job_of(32, 8, 7);
  CHECK(RunSchedule(job, 100, 1).steps() == 7);
  CHECK(RunSchedule(job, 100, 1).steps_per_epoch() == 4);
  job.train.steps.reset();
  job.train.epochs = 2.5;
  CHECK(RunSchedule(job, 100, 1).steps() == 10);
  job.train.epochs = 0.01;
  CHECK(RunSchedule(job, 100, 1).steps() == 1);
}

TEST_CASE("a dataset smaller than the global batch is one step an epoch, cut by what there is") {
  const RunSchedule schedule(job_of(64, 4, 3), 10, 2);
  CHECK(schedule.steps_per_epoch() == 1);
  CHECK(schedule.full().samples == 10);
  CHECK(schedule.plan(2).micro_batches == std::vector<MicroBatch>{{0, 4}, {4, 3}, {7, 3}});
  CHECK(schedule.samples_before(3) == 30);
}

TEST_CASE("a short last step may have a larger micro-batch than a full one") {
  const RunSchedule schedule(job_of(10, 7, 100), 27, 1);
  CHECK(schedule.full().micro_batches == std::vector<MicroBatch>{{0, 5}, {5, 5}});
  CHECK(schedule.last().micro_batches == std::vector<MicroBatch>{{0, 7}});
  CHECK(schedule.batch_sizes() == std::vector<std::int64_t>{5, 7});
  CHECK(schedule.largest_batch() == 7);
}

TEST_CASE("intervals in steps and in epochs, at least one step") {
  const RunSchedule schedule(job_of(32, 8, 7), 100, 1);
  CHECK(schedule.steps_of({.every = 3, .unit = Interval::Unit::steps}) == 3);
  CHECK(schedule.steps_of({.every = 2, .unit = Interval::Unit::epochs}) == 8);
  CHECK(schedule.steps_of({.every = 0.5, .unit = Interval::Unit::epochs}) == 2);
  CHECK(schedule.steps_of({.every = 0.01, .unit = Interval::Unit::epochs}) == 1);
}

}  // namespace dptrain

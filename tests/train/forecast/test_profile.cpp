// What is measured has a sense; how long things take is not looked at.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>

#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/backend.h"
#include "train/forecast/measure.h"
#include "train/forecast/profile.h"

namespace dptrain {

namespace {

/// 12-20-3 in steps of 16.
JobSpec small_job(int micro_batch, const std::string& train = "", const std::string& more = "",
                  const std::string& optimizer = "{name: sgd, lr: 0.1, momentum: 0.9}") {
  return read_job_text(
      fmt::format("name: small\ndataset: {{name: digits}}\nmodel:\n  input: [12]\n  layers: [linear: 20, relu, "
                  "dropout: 0.3, linear: 3]\ntrain:\n  steps: 7\n  global_batch_size: 16\n  micro_batch_size: {}\n"
                  "  optimizer: {}\n{}devices: {{type: cpu}}\n{}",
                  micro_batch, optimizer, train, more),
      "small.yaml");
}

DatasetPair data_of(std::int64_t samples) {
  return test::memory_pair(samples, 10, Shape{12}, 3);
}

void check_costs(const WorkCosts& costs, int replicas, bool adds) {
  CHECK(costs.replicas == replicas);
  CHECK(costs.micro_batch > 0);
  CHECK(std::isfinite(costs.micro_batch));
  CHECK(costs.load >= 0);
  CHECK(costs.meet >= 0);
  CHECK((costs.add > 0) == adds);
}

}  // namespace

TEST_CASE("a profile has every part of a step, of one replica and of all") {
  const DatasetPair data = data_of(75);
  for (const JobSpec& job : {small_job(2), small_job(2, "  clip_grad_norm: 1\n"), small_job(2, "  ema: {decay: 0.9}\n"),
                             small_job(2, "", "", "{name: muon, lr: 0.01}"), small_job(2, "", "balance: auto\n"),
                             small_job(2, "", "data: {workers: 1}\n")}) {
    Profiler profiler(job, data, 2, 4);
    profiler.sample(0.01);
    profiler.sample(0.01);
    const MachineProfile profile = profiler.profile();
    CHECK(profile.cores == 2);
    check_costs(profile.alone, 1, true);
    check_costs(profile.together, 2, true);
    CHECK(profile.update > 0);
    CHECK(profile.fold >= 0);
    CHECK(profile.crowding >= 1);
    CHECK(profile.meet.at(4) >= 0);
    CHECK(profiler.lost() >= 0);
    CHECK(profiler.lost() <= 1);
    const RunSchedule schedule(job, data.train->size(), 1);
    const ModelPlan model = make_backend(job, {})->plan(schedule.batch_sizes());
    CHECK(forecast_here(profile, step_work(job, schedule, model.parameters), 4).seconds() > 0);
  }
}

TEST_CASE("one micro-batch a step, and a training set below a step") {
  const DatasetPair data = data_of(75), few = data_of(10);
  const JobSpec whole = small_job(16), cut_unevenly = small_job(6);
  Profiler one(whole, data, 2, 0);
  one.sample(0.01);
  check_costs(one.profile().alone, 1, false);
  CHECK(one.profile().together.replicas == 1);
  CHECK(one.profile().meet.at(2) > 0);       // of two replicas, one of them idle
  Profiler uneven(cut_unevenly, few, 2, 0);  // 5 + 5, and sums of two replicas
  uneven.sample(0.01);
  check_costs(uneven.profile().together, 2, true);
}

TEST_CASE("what the reduction of a step is made of") {
  const RunSchedule schedule(small_job(2), 75, 1);
  const auto work = [&](const JobSpec& job) {
    return step_work(job, schedule, make_backend(job, {})->plan(schedule.batch_sizes()).parameters);
  };
  CHECK(work(small_job(2)).micro_batches == 8);
  CHECK(work(small_job(2)).samples == 16);
  CHECK(work(small_job(2, "", "", "{name: muon, lr: 0.01}")).update_parts == 2);  // of two matrices
}

TEST_CASE("an error of the data ends a profile, with one replica and with two") {
  for (const int cores : {1, 2}) {
    DatasetPair data = data_of(75);
    auto bytes = std::make_unique<test::MemoryDataset>(75, Shape{12}, 3, 1);
    bytes->on_gather = [](std::span<const std::int64_t>) { throw std::runtime_error("a broken disk"); };
    data.train = std::move(bytes);
    const JobSpec job = small_job(2);
    Profiler profiler(job, data, cores, 0);
    CHECK_THROWS_WITH(profiler.sample(0.01), "a broken disk");
  }
}

TEST_CASE("a step is measured in a run of its own, longer than the job's where that is needed, without its drills") {
  const DatasetPair data = data_of(75);
  const JobSpec job = small_job(2, "", "drills: [{at_step: 1, replica: 0, do: throw}]\nexpect: {test_accuracy: 1}\n");
  for (const int replicas : {1, 2, 4}) {
    for (const std::int64_t steps : {3, 30}) {
      const double seconds = measured_step_seconds(job, data, replicas, steps);
      CHECK(seconds > 0);
      CHECK(std::isfinite(seconds));
    }
  }
}

}  // namespace dptrain

// The versions that a run will make, and the learning rate of each.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>

#include "spec/reader.h"
#include "train/async/version_rates.h"

namespace dptrain {

namespace {

JobSpec job_of(std::int64_t steps, const std::string& schedule) {
  return read_job_text(
      fmt::format("dataset: {{name: digits}}\nmodel: {{input: [4], layers: [linear: 3]}}\n"
                  "train: {{steps: {}, global_batch_size: 16, micro_batch_size: 4, optimizer: {{name: sgd, lr: 0.1}}, "
                  "lr_schedule: {}}}\n",
                  steps, schedule),
      "job.yaml");
}

}  // namespace

TEST_CASE("places: steps of 4, 4 and 3 micro-batches, and back") {
  const JobSpec job = job_of(100, "{name: constant}");
  const RunSchedule schedule(job, 43, 1);
  const MicroBatchPlaces places(schedule);
  std::int64_t index = 0;
  for (std::int64_t step = 0; step < 9; ++step) {
    CHECK(places.first_of(step) == index);
    for (int m = 0; m < (step % 3 == 2 ? 3 : 4); ++m, ++index) {
      CHECK(places.at(index).step == step);
      CHECK(places.at(index).micro_batch == m);
      CHECK(places.samples(index) == schedule.plan(step).micro_batches[static_cast<std::size_t>(m)].count);
    }
  }
}

TEST_CASE("planned versions are those that the rests make, counted one by one") {
  CHECK(rc::check("counted", [] {
    const auto number = [](std::int64_t low, std::int64_t high) {
      return *rc::gen::inRange<std::int64_t>(low, high + 1);
    };
    const JobSpec job = job_of(1, "{name: constant}");
    const RunSchedule schedule(job, number(1, 200), 1);
    const MicroBatchPlaces places(schedule);
    const std::int64_t steps = number(1, 100), per_version = number(1, 9);
    const RestPlan rests{number(1, 120), number(1, 30), schedule.steps_per_epoch(), steps};
    std::int64_t versions = 0, held = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::int64_t k = places.first_of(step); k < places.first_of(step + 1); ++k) {
        if (++held == per_version) held = 0, ++versions;
      }
      const std::int64_t done = step + 1;
      const bool rest = done % rests.evaluate_every == 0 || done % rests.checkpoint_every == 0 ||
                        done % rests.epoch == 0 || done == steps;
      if (rest && held > 0) held = 0, ++versions;
    }
    RC_ASSERT(planned_versions(places, rests, per_version, steps) == versions);
  }));
}

TEST_CASE("rates scale with the samples of a version, and after a fallback with those of a step") {
  JobSpec job = job_of(9, "{name: constant}");
  job.train.lr_scaling = LrScalingSpec{LrScalingRule::linear, 4};
  const RunSchedule schedule(job, 43, 1);
  const MicroBatchPlaces places(schedule);
  VersionRates rates(job, places, rests_of(job, schedule), 1);
  const double samples = static_cast<double>(places.samples(0)),
               step = static_cast<double>(job.train.global_batch_size);
  CHECK(rates.rate(5) == doctest::Approx(0.1 * samples / 4));
  rates.fall_back(11, 4);
  CHECK(rates.rate(10) == doctest::Approx(0.1 * samples / 4));
  CHECK(rates.rate(11) == doctest::Approx(0.1 * step / 4));
}

TEST_CASE("a run of a million million steps is planned at once") {
  const JobSpec job = job_of(1'000'000'000'000, "{name: constant}");
  const RunSchedule schedule(job, 43, 1);
  const RestPlan rests{1'000'003, 999'983, schedule.steps_per_epoch(), schedule.steps()};
  CHECK(planned_versions(MicroBatchPlaces(schedule), {schedule.steps(), schedule.steps(), 3, schedule.steps()}, 1,
                         schedule.steps()) > 3'600'000'000'000);
  CHECK(rests.after(3) == 6);
}

TEST_CASE("schedules reach their end with the last version; after a fallback each counts for as many as it holds") {
  const JobSpec job = job_of(9, "{name: linear, end_factor: 0}");
  const RunSchedule schedule(job, 43, 1);
  const MicroBatchPlaces places(schedule);
  VersionRates rates(job, places, rests_of(job, schedule), 1);
  CHECK(rates.rate(0) == doctest::Approx(0.1));
  CHECK(rates.rate(33) == doctest::Approx(0));
  CHECK(rates.rate(11) == doctest::Approx(0.1 * 2 / 3));
  CHECK(rates.rate(11, 22) ==
        rates.rate(33));  // what was left out counts, so that the end of the schedule is that of the run
  CHECK(rates.rate(30, 22) == rates.rate(33));  // and it stays there
  rates.fall_back(11, 4);
  CHECK(rates.rate(11) == doctest::Approx(0.1 * 2 / 3));
  CHECK(rates.rate(12) == doctest::Approx(0.1 * (1 - 15.0 / 33)));
  CHECK(rates.rate(10) == doctest::Approx(0.1 * (1 - 10.0 / 33)));
}

}  // namespace dptrain

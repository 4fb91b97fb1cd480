// What goes wrong in a step, rehearsed by drills: each policy end to end, and that the weights are those they should
// be.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <vector>

#include "core/error.h"
#include "core/magnitude.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "support/process.h"
#include "train/cpu/cpu_reducer.h"
#include "train/failing_runs.h"
#include "train/faults/faults.h"
#include "train/faults/rollback.h"
#include "train/resumed_runs.h"
#include "train/trainer.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

using test::MemoryDataset;

const char* const kCnn = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {conv2d: {out_channels: 4, kernel_size: 2}}, flatten, {dropout: 0.2}, {linear: 3}]
train: {epochs: 3, global_batch_size: 16, micro_batch_size: 2, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}}
checkpoint: {every: 2 steps}
)";
const Shape kShape{1, 6, 6};
constexpr std::int64_t kSteps = 9;

JobSpec job_of(std::int64_t replicas, const std::vector<std::pair<std::string, std::string>>& settings = {}) {
  std::vector<Override> overrides{{"--devices", "devices.count", std::to_string(replicas)}};
  for (const auto& [key, value] : settings) overrides.push_back({"--set", key, value});
  return read_job_text(kCnn, "small.yaml", overrides);
}

DatasetPair data_of() {
  return test::memory_pair(43, 70, kShape, 3);
}

Summary run(const JobSpec& job, const TrainOptions& options = {}) {
  Reporter silent;
  return train(job, data_of(), silent, options);
}

std::string failure(const JobSpec& job, ExitStatus status = ExitStatus::failed, const TrainOptions& options = {}) {
  return test::failure(status, [&] { run(job, options); });
}

using test::has;

}  // namespace

TEST_CASE("largest_magnitude: NaN and infinities wherever they stand, and numbers up to the largest") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity(), kMax = std::numeric_limits<float>::max();
  std::vector<float> values(67, -0.5f);
  CHECK(largest_magnitude(values.data(), 0) == 0);
  CHECK(largest_magnitude(values.data(), 67) == 0.5f);
  for (const std::size_t at : {0, 1, 31, 66}) {
    for (const float bad :
         {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
      values[at] = bad;
      CHECK(largest_magnitude(values.data(), 67) == kInfinity);
    }
    values[at] = -kMax;
    CHECK(largest_magnitude(values.data(), 67) == kMax);
    values[at] = -0.5f;
  }
  std::vector<float> other(67, 0.25f);
  CHECK(add_and_find_largest(values.data(), other.data(), 67) == 0.25f);
  CHECK(values[3] == -0.25f);
  values[5] = other[5] = kMax;
  CHECK(add_and_find_largest(values.data(), other.data(), 67) == kInfinity);
}

TEST_CASE("gradients that are finite and whose sum is not: asked for by their bounds, and found in the sum") {
  LocalGroup group(2);
  CpuReducer reducer(group, 16, 0, {});
  const StepPlan plan = plan_step(2, 1, 2);
  std::vector<float> one(16, 1.0f), other(16, 1.0f);
  reducer.lend(0, {one.data()});
  reducer.lend(1, {other.data()});
  Faults faults(2);
  const auto doubted = [&] {
    faults.well(0, largest_magnitude(one.data(), 16), true);
    faults.well(1, largest_magnitude(other.data(), 16), true);
    return faults.any();
  };
  CHECK_FALSE(doubted());
  one[15] = 3e38f;
  other[2] = -3e38f;
  CHECK(doubted());
  CHECK(reducer.finite(0, plan));  // they do not meet
  other[15] = 3e38f;
  CHECK(doubted());
  CHECK_FALSE(reducer.finite(0, plan));
  one[15] = -3e38f;
  CHECK(reducer.finite(0, plan));
}

TEST_CASE("on_nan: stop names step, parameter, micro-batch and replica, and saves nothing of the step") {
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    const std::int64_t bad = replicas - 1;
    const JobSpec job = job_of(replicas, {{"drills", fmt::format("[{{at_step: 3, replica: {}, do: nan}}]", bad)}});
    test::TemporaryFolder folder;
    const std::string message = failure(job, ExitStatus::failed, {.checkpoints = {.run_folder = folder.path()}});
    const int micro_batch = share(8, static_cast<int>(replicas), static_cast<int>(bad)).first;
    CHECK(has(message, "the gradient of 5.weight is not finite at step 3 (epoch 1.00, learning rate 0.05)"));
    CHECK(has(message, fmt::format("micro-batch {} on replica {}", micro_batch, bad)));
    CHECK(std::filesystem::exists(folder / "checkpoints" / "step-2"));
    CHECK_FALSE(std::filesystem::exists(folder / "checkpoints" / "step-4"));
  }
}

TEST_CASE("on_nan: stop where a sample is not finite: its micro-batch and its replica") {
  DatasetPair data = data_of();
  auto set = std::make_unique<MemoryDataset>(43, kShape, 3, 1);
  set->scale = std::numeric_limits<float>::infinity();
  data.train = std::move(set);
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    Reporter silent;
    try {
      train(job_of(replicas), data, silent);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(has(error.what(), "is not finite at step 0 (epoch 0.00"));
      CHECK(has(error.what(), "micro-batch 0 on replica 0"));
    }
  }
}

TEST_CASE("on_nan: skip leaves the update out, counts it, and gives the same bits at any number of replicas") {
  const std::string drill = "[{at_step: 3, replica: 0, do: nan}, {at_step: 6, replica: 0, do: nan}]";
  std::string hash;
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    const Summary s = run(job_of(replicas, {{"faults.on_nan", "skip"}, {"drills", drill}}));
    if (hash.empty()) hash = s.weights_hash;
    CHECK(s.weights_hash == hash);
    CHECK(s.status == RunStatus::done);
    CHECK(s.steps == kSteps);
    CHECK(s.skipped_steps == 2);
    REQUIRE(s.faults.size() == 2);
    CHECK(s.faults[0].kind == "not_finite");
    CHECK(s.faults[0].action == "skip");
    CHECK(s.faults[0].step == 3);
    CHECK(s.faults[0].replica == 0);
    CHECK(s.faults[0].micro_batch == 0);
    CHECK(s.faults[0].parameter == "5.weight");
    CHECK(s.faults[1].recovery_seconds >= 0);
    CHECK(std::isfinite(s.final_loss));
  }
  CHECK(hash != run(job_of(1)).weights_hash);
}

TEST_CASE("on_nan: skip gives up after so many in a row") {
  JobSpec job = job_of(2, {{"faults", "{on_nan: skip, max_skips: 2}"}});
  job.drills = {{.at_step = 2, .kind = DrillKind::nan},
                {.at_step = 3, .kind = DrillKind::nan},
                {.at_step = 5, .kind = DrillKind::nan}};
  CHECK(run(job).skipped_steps == 3);  // two in a row, and one alone
  job.drills.back().at_step = 4;
  CHECK(has(failure(job), "after 2 steps in a row that were left out (faults.max_skips)"));
}

TEST_CASE(
    "on_nan: rollback goes on from the last checkpoint with a lower rate, the same bits at any number of replicas") {
  std::string hash;
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    for (const std::int64_t workers : {0, 1}) {
      const JobSpec job = job_of(replicas, {{"faults", "{on_nan: rollback, rollback_lr_factor: 0.25}"},
                                            {"drills", "[{at_step: 5, replica: 0, do: nan}]"},
                                            {"data.workers", std::to_string(workers)}});
      const Summary s = run(job);
      if (hash.empty()) hash = s.weights_hash;
      CHECK(s.weights_hash == hash);
      CHECK(s.steps == kSteps);
      REQUIRE(s.faults.size() == 1);
      CHECK(s.faults[0].action == "rollback");
      CHECK(has(s.faults[0].message, "back to step 4, with 0.25 of the learning rate (rollback 1 of at most 3)"));
      CHECK(s.faults[0].recovery_seconds >= 0);
    }
  }
  CHECK(hash != run(job_of(1)).weights_hash);
}

TEST_CASE("a rollback with factor 1 is a run without the fault: nothing of the bad step stays behind") {
  const std::string wanted = run(job_of(1)).weights_hash;
  for (const std::int64_t bad : {0, 1, 4, 8}) {
    for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
      const JobSpec job = job_of(replicas, {{"faults", "{on_nan: rollback, rollback_lr_factor: 1}"},
                                            {"drills", fmt::format("[{{at_step: {}, replica: 0, do: nan}}]", bad)}});
      CHECK(run(job).weights_hash == wanted);
    }
  }
}

TEST_CASE("after a rollback nothing is left of the weights that were given up, in short steps either") {
  // Step 5 is short, with a micro-batch of a size that no other step has: what was made of the weights for it before
  // the rollback must not serve again. The same way is gone by a run that starts from the checkpoint, with the lower
  // rate.
  const std::vector<std::pair<std::string, std::string>> settings{
      {"checkpoint.every", "4 steps"},
      {"train.epochs", "3"},
      {"faults", "{on_nan: rollback, rollback_lr_factor: 0.25}"}};
  auto with_fault = settings;
  with_fault.emplace_back("drills", "[{at_step: 6, replica: 0, do: nan}]");
  test::TemporaryFolder folder;
  run(job_of(1, settings), {.checkpoints = {.run_folder = folder.path()}});
  auto start = std::make_shared<Checkpoint>(read_checkpoint(checkpoint_folder(folder.path(), 4)));
  start->snapshot.state.lr_factor = 0.25;
  const std::string wanted = run(job_of(1, settings), {.checkpoints = {.resume_from = start}}).weights_hash;
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas)
    CHECK(run(job_of(replicas, with_fault)).weights_hash == wanted);
}

TEST_CASE("on_nan: rollback gives up after so many, and says how many") {
  JobSpec job = job_of(2, {{"faults", "{on_nan: rollback, max_rollbacks: 1}"},
                           {"drills", "[{at_step: 1, replica: 0, do: nan}, {at_step: 5, replica: 1, do: nan}]"}});
  CHECK(has(failure(job), "after 1 rollback (faults.max_rollbacks)"));
}

TEST_CASE("the rollback's factor belongs to the state: stopped and resumed after it, the same bits") {
  JobSpec job = job_of(2, {{"faults.on_nan", "rollback"}, {"drills", "[{at_step: 3, replica: 1, do: nan}]"}});
  const std::string wanted = run(job).weights_hash;
  test::TemporaryFolder folder;
  StopRequest stop{0};
  DatasetPair data = data_of();
  auto set = std::make_unique<MemoryDataset>(43, kShape, 3, 1);
  std::int64_t gathered = 0;
  std::mutex mutex;
  set->on_train = [&](std::span<const std::int64_t> ids) {  // in the second epoch and a bit, after the rollback
    const std::lock_guard lock(mutex);
    if ((gathered += static_cast<std::int64_t>(ids.size())) > 110) stop = 15;
  };
  data.train = std::move(set);
  job.data.workers = 0;
  Reporter silent;
  const Summary first = train(job, data, silent, {.stop = &stop, .checkpoints = {.run_folder = folder.path()}});
  REQUIRE(first.status == RunStatus::stopped);
  REQUIRE(first.steps > 3);
  REQUIRE(first.steps < kSteps);
  REQUIRE(first.faults.size() == 1);
  TrainOptions options{.checkpoints = {.run_folder = folder.path()}};
  auto newest = newest_checkpoint(folder.path(), [](const std::string&) { FAIL("damaged"); });
  REQUIRE(newest);
  options.checkpoints.resume_from = std::make_shared<Checkpoint>(std::move(*newest));
  CHECK(options.checkpoints.resume_from->snapshot.state.lr_factor == 0.5);
  CHECK(options.checkpoints.resume_from->snapshot.state.rollbacks == 1);
  job.devices.count = 3;
  CHECK(run(job, options).weights_hash == wanted);
}

TEST_CASE("a run that really diverges is brought down by rollbacks, however often it saves, with the same bits") {
  // At this rate the loss is beyond the range of floats after some steps, and what was saved on the way is lost
  // already.
  for (const char* every : {"1 steps", "2 steps", "4 steps", "end"}) {
    std::string hash;
    for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
      const JobSpec job =
          job_of(replicas, {{"train.optimizer", "{name: sgd, lr: 1000}"},
                            {"train.epochs", "6"},
                            {"checkpoint.every", every},
                            {"evaluate.every", "1 steps"},
                            {"faults", "{on_nan: rollback, rollback_lr_factor: 1.0e-5, max_rollbacks: 8}"}});
      const Summary s = run(job);
      if (hash.empty()) hash = s.weights_hash;
      CHECK(s.weights_hash == hash);
      CHECK(s.status == RunStatus::done);
      CHECK(!s.faults.empty());
      CHECK(std::isfinite(s.test_loss));
    }
  }
}

TEST_CASE("a test loss that is not finite is a reason to go back too, and nothing that skipping could mend") {
  const std::vector<std::pair<std::string, std::string>> settings{{"train.optimizer", "{name: sgd, lr: 3.0e+38}"},
                                                                  {"evaluate.every", "1 steps"}};
  auto back = settings, skip = settings, stop = settings;
  back.emplace_back("faults", "{on_nan: rollback, rollback_lr_factor: 1.0e-37}");
  const Summary s = run(job_of(2, back));
  CHECK(s.status == RunStatus::done);
  REQUIRE(s.faults.size() == 1);
  CHECK(has(s.faults[0].message, "the test loss is not finite after step 1"));
  CHECK(has(s.faults[0].message, "back to step 0"));
  CHECK(std::isfinite(s.test_loss));
  skip.emplace_back("faults.on_nan", "skip");
  CHECK(has(failure(job_of(2, skip)),
            "the test loss is not finite after step 1 (epoch 0.33, learning rate 3e+38), and that "
            "is of the weights: no step can be left out to mend it"));
  CHECK(has(failure(job_of(2, stop)), "the test loss is not finite after step 1"));
  skip.emplace_back("evaluate.every", "end");
  CHECK(has(failure(job_of(2, skip)), "no step can be left out to mend it"));
}

TEST_CASE("stopped between a checkpoint and a fault, and gone on with: a rollback goes where it would have gone") {
  for (const std::int64_t samples :
       {20, 60, 80}) {  // the step after which the first part ends is no step of a checkpoint
    const JobSpec job =
        job_of(2, {{"faults.on_nan", "rollback"},
                   {"checkpoint", "{every: 3 steps, keep: 1}"},
                   {"drills", "[{at_step: 3, replica: 1, do: nan}, {at_step: 8, replica: 0, do: nan}]"}});
    const std::string wanted = run(job).weights_hash;
    test::TemporaryFolder folder;
    const test::PartsOfRun parts{.job = job, .shape = kShape, .train_samples = 43, .test_samples = 70};
    CHECK(parts.whole().weights_hash == wanted);
    const Summary first = parts.part(folder.path(), samples, job.devices);
    CHECK(first.status == RunStatus::stopped);
    CHECK(first.steps < 8);
    CHECK(parts.part(folder.path(), test::to_the_end, job_of(3).devices).weights_hash == wanted);
  }
}

TEST_CASE("rollback points: the latest, but never one that has failed, and further back where nothing was gained") {
  const auto none = std::make_shared<const std::vector<Buffer>>();
  const auto points = [&](std::initializer_list<std::int64_t> steps) {
    RollbackPoints all;
    for (const std::int64_t step : steps) all.push(step, none);
    return all;
  };
  RollbackPoints all = points({0, 10, 20, 30});
  CHECK(all.steps() == std::vector<std::int64_t>{10, 20, 30});
  CHECK(all.back(35).step == 30);
  CHECK(all.back(34).step == 20);  // no further than before
  CHECK(all.back(40).step == 20);  // further
  all.push(30, none);
  CHECK(all.back(40).step == 20);
  CHECK(all.back(20).step == 10);  // the weights of 20 themselves, and no further either: there is one left
  CHECK(all.back(10).step == 10);
  CHECK(all.failed_at() == 10);
  CHECK(points({0, 5}).back(5).step == 0);
}

TEST_CASE("parameters that are not finite are never saved") {
  JobSpec job = job_of(2);
  std::get<SgdSpec>(job.train.optimizer).lr = 3e38;
  std::get<SgdSpec>(job.train.optimizer).momentum = 0;
  job.train.epochs.reset();
  job.train.steps = 3;
  job.checkpoint.every = Interval{.every = 1, .unit = Interval::Unit::steps};
  test::TemporaryFolder folder;
  failure(job, ExitStatus::failed, {.checkpoints = {.run_folder = folder.path()}});
  const auto newest = newest_checkpoint(folder.path(), [](const std::string&) { FAIL("damaged"); });
  if (newest) {
    for (const auto& tensor : newest->snapshot.model) {
      for (const float value : tensor.values) CHECK(std::isfinite(value));
    }
  }
}

TEST_CASE("on_replica_failure: stop ends the run with the replica's name") {
  for (std::int64_t replicas = 1; replicas <= 4; ++replicas) {
    const JobSpec job =
        job_of(replicas, {{"drills", fmt::format("[{{at_step: 4, replica: {}, do: throw}}]", replicas - 1)}});
    CHECK(has(failure(job), fmt::format("replica {} failed in step 4: this is a drill", replicas - 1)));
  }
}

TEST_CASE("on_replica_failure: continue leaves its micro-batches to the others, and the bits are the same") {
  const std::string wanted = run(job_of(1)).weights_hash;
  for (std::int64_t replicas = 2; replicas <= 4; ++replicas) {
    for (std::int64_t bad = 0; bad < replicas; ++bad) {
      for (const std::int64_t workers : {0, 1}) {
        const JobSpec job =
            job_of(replicas, {{"faults.on_replica_failure", "continue"},
                              {"data.workers", std::to_string(workers)},
                              {"evaluate.every", "3 steps"},
                              {"drills", fmt::format("[{{at_step: {}, replica: {}, do: throw}}]", 2 * bad, bad)}});
        const Summary s = run(job);
        CHECK(s.weights_hash == wanted);
        CHECK(s.status == RunStatus::done);
        CHECK(std::isfinite(s.test_loss));
        REQUIRE(s.faults.size() == 1);
        CHECK(s.faults[0].kind == "replica_failed");
        CHECK(s.faults[0].action == "continue");
        CHECK(s.faults[0].replica == bad);
        CHECK(s.faults[0].step == 2 * bad);
        CHECK(s.faults[0].recovery_seconds >= 0);
        CHECK(has(s.faults[0].message, fmt::format("replica {} failed in step {}", bad, 2 * bad)));
      }
    }
  }
}

TEST_CASE("on_replica_failure: one after the other, two at once, and a NaN later") {
  const std::string wanted = run(job_of(1)).weights_hash;
  JobSpec job = job_of(4, {{"faults.on_replica_failure", "continue"}});
  job.drills = {{.at_step = 1, .replica = 0}, {.at_step = 4, .replica = 3}, {.at_step = 4, .replica = 1}};
  const Summary s = run(job);
  CHECK(s.weights_hash == wanted);
  CHECK(s.faults.size() == 3);
  job.faults.on_nan = OnNan::rollback;
  job.faults.rollback_lr_factor = 1;
  job.drills.push_back({.at_step = 7, .replica = 2, .kind = DrillKind::nan});
  CHECK(run(job).weights_hash == wanted);
}

TEST_CASE("on_replica_failure: where no replica is left the run ends with the last one's error") {
  JobSpec job = job_of(2, {{"faults.on_replica_failure", "continue"}});
  job.drills = {{.at_step = 1, .replica = 0}, {.at_step = 5, .replica = 1}};
  CHECK(has(failure(job), "replica 1 failed in step 5: this is a drill"));
  job.devices.count = 1;
  job.drills.pop_back();
  CHECK(has(failure(job), "replica 0 failed in step 1: this is a drill"));
}

TEST_CASE("a stall below the deadline and a slow replica cost time, and no bit") {
  const std::string wanted = run(job_of(1)).weights_hash;
  const JobSpec job = job_of(2, {{"faults.step_deadline", "1000"},
                                 {"balance", "auto"},
                                 {"drills",
                                  "[{at_step: 2, replica: 1, do: stall, seconds: 0.001}, {at_step: 3, replica: 1, do: "
                                  "slow, factor: 1.5}]"}});
  const Summary s = run(job);
  CHECK(s.weights_hash == wanted);
  CHECK(s.faults.empty());
}

TEST_CASE("a stall ends where another replica has ended the run") {
  JobSpec job = job_of(2, {{"faults.step_deadline", "1000"}});
  job.drills = {{.at_step = 1, .replica = 0, .kind = DrillKind::stall}, {.at_step = 1, .replica = 1}};
  CHECK(has(failure(job), "replica 1 failed in step 1"));
}

TEST_CASE("a stall without seconds is refused where no deadline ends it: several processes have one by themselves") {
  const std::string stall = "[{at_step: 1, replica: 0, do: stall}]";
  const JobSpec endless = job_of(2, {{"drills", stall}});
  CHECK(has(failure(endless, ExitStatus::usage), "a stall without 'seconds' lasts for ever in a single process"));
  const Placement alone{.replicas = 2, .shares = {2}, .gpus = {}},
      together{.replicas = 2, .shares = {1, 1}, .gpus = {}};
  CHECK_THROWS_AS(check_faults_fit(endless, alone), Error);
  CHECK_NOTHROW(check_faults_fit(endless, together));
  CHECK_NOTHROW(check_faults_fit(job_of(2, {{"drills", stall}, {"faults.step_deadline", "5"}}), alone));
}

TEST_CASE("drills for replicas that there are not, and settings that GPUs do not have, are refused") {
  JobSpec job = job_of(2);
  job.drills = {{.at_step = 1, .replica = 2}};
  CHECK(has(failure(job, ExitStatus::usage), "there is no replica 2: this run has 2"));
  const Placement gpus{.type = DeviceType::cuda, .replicas = 2, .gpus = {}};
  const auto refused = [&](const std::vector<std::pair<std::string, std::string>>& settings) {
    try {
      check_faults_fit(job_of(2, settings), gpus);
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::usage);
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(has(refused({{"faults.on_replica_failure", "continue"}}),
            "needs replicas on the CPU, because an error of CUDA's"));
  CHECK(refused({{"balance", "auto"}, {"drills", "[{at_step: 1, replica: 1, do: slow, factor: 2}]"}}).empty());
  CHECK(refused({{"faults.on_nan", "skip"}, {"drills", "[{at_step: 1, replica: 1, do: nan}]"}}).empty());
  CHECK(refused({{"drills", "[{at_step: 1, replica: 1, do: throw}]"}, {"faults.step_deadline", "5"}}).empty());
}

}  // namespace dptrain

// Whole runs in mode local_sgd: where they rest, what they say, what ends them.
#include <doctest/doctest.h>

#include <string>

#include "core/error.h"
#include "train/local_sgd/local_jobs.h"

namespace dptrain::test {

namespace {

std::vector<std::int64_t> evaluated_steps(const JobSpec& job, int replicas) {
  std::vector<std::int64_t> steps;
  TrainOptions options;
  options.enough = [&](const EvalReport& report) {
    steps.push_back(report.step);
    return false;
  };
  run_local(job, replicas, options);
  return steps;
}

std::string refusal(const std::function<void()>& run, ExitStatus status) {
  try {
    run();
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  return "accepted";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("evaluations come at averages, the first one at or behind what is asked for, and at the end") {
  using Steps = std::vector<std::int64_t>;
  CHECK(evaluated_steps(local_job("{sync_every: 4}", "evaluate: {every: 5 steps}\n"), 2) == Steps{8, 12, 16, 20, 23});
  CHECK(evaluated_steps(local_job("{sync_every: 4}", "evaluate: {every: 8 steps}\n"), 3) == Steps{8, 16, 23});
  CHECK(evaluated_steps(local_job("{sync_every: 4}"), 1) == Steps{23});
  CHECK(evaluated_steps(local_job("{sync_every: 4, warmup_sync_steps: 7}", "evaluate: {every: 3 steps}\n"), 2) ==
        Steps{3, 6, 11, 15, 19, 23});
  CHECK(evaluated_steps(local_job("{sync_every: 4, warmup_sync_steps: 40}", "evaluate: {every: 9 steps}\n"), 2) ==
        Steps{9, 18, 23});
}

TEST_CASE("the summary says what the mode did") {
  const Summary s = run_local(local_job("{workers: 3, sync_every: 4, warmup_sync_steps: 2}"), 2);
  CHECK(s.mode == "local_sgd");
  CHECK(s.replicas == 2);
  REQUIRE(s.local_sgd);
  CHECK(s.local_sgd->workers == 3);
  CHECK(s.local_sgd->sync_every == 4);
  CHECK(s.local_sgd->averages == 6);  // after 6, 10, 14, 18, 22 and 23 steps
  CHECK(s.samples == 4 * 75 + 48);
  CHECK(s.shares.compute > 0);
  CHECK(s.train_seconds > 0);
}

TEST_CASE("what is enough ends a run at an average") {
  TrainOptions options;
  options.enough = [](const EvalReport& report) { return report.step >= 8; };
  const Summary s = run_local(local_job("{sync_every: 4}", "evaluate: {every: 4 steps}\n"), 2, options);
  CHECK(s.steps == 8);
  CHECK(s.status == RunStatus::stopped);
  TrainOptions until;
  until.until = 8;
  CHECK(run_local(local_job("{sync_every: 4}"), 3, until).weights_hash == s.weights_hash);
}

TEST_CASE(
    "a rate that is too large ends the run, with the same step, worker and micro-batch at any number of replicas") {
  const JobSpec job = local_job("{workers: 4, sync_every: 8}", "", "{name: sgd, lr: 1.0e+20}");
  const auto diverge = [&](int replicas) {
    const std::string message = refusal([&] { run_local(job, replicas); }, ExitStatus::failed);
    CHECK(has(message, "not finite at step "));
    CHECK(has(message, " of worker 0 on replica 0: training has diverged"));
    return message;
  };
  const std::string one = diverge(1);
  CHECK(diverge(2) == one);
  CHECK(diverge(4) == one);
}

TEST_CASE("drills: a gradient that is not a number, a replica that fails, a slow one") {
  const auto drilled = [](const std::string& drill) {
    return local_job("{workers: 4, sync_every: 4}", "drills:\n  - {at_step: 5, replica: 1, do: " + drill + "}\n");
  };
  const std::string nan = refusal([&] { run_local(drilled("nan"), 2); }, ExitStatus::failed);
  CHECK(has(nan, "the gradient is not finite at step 5 "));
  CHECK(has(nan, "micro-batch 4 of worker 2 on replica 1"));
  CHECK(has(refusal([&] { run_local(drilled("throw"), 3); }, ExitStatus::failed), "replica 1 failed in step 5"));
  CHECK(run_local(drilled("slow, factor: 1.5"), 2).weights_hash ==
        run_local(local_job("{workers: 4, sync_every: 4}"), 2).weights_hash);
}

TEST_CASE("what does not fit is refused before the first step") {
  CHECK(has(refusal([] { run_local(local_job("{workers: 3}"), 4); }, ExitStatus::usage), "4 replicas"));
  CHECK(has(refusal([] { run_local(local_job("{workers: 12}"), 1, {}, 10); }, ExitStatus::usage),
            "12 workers, but a step of this dataset has only 10 samples"));
  const auto outer = [](const char* optimizer) {
    return refusal([&] { run_local(local_job(fmt::format("{{workers: 3, outer_optimizer: {}}}", optimizer)), 1); },
                   ExitStatus::usage);
  };
  CHECK(has(outer("{name: lamb, lr: 0.1}"),
            "local_sgd.outer_optimizer: lamb is for mode: sync, and this is mode: local_sgd"));
  CHECK(has(outer("{name: sgd, lr: 0.1, weight_decay: 0.1, weight_decay_on: weights}"), "that of train.optimizer"));
}

}  // namespace dptrain::test

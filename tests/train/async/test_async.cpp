// Whole runs in mode async: sync's bits where nothing may be stale, the bound in real threads, each sample once, points
// of rest, what is not finite, what fails, and falling back.
#include <cmath>
#include <mutex>
#include <numeric>

#include "optim/schedule.h"
#include "support/process.h"
#include "train/async/async_jobs.h"
#include "train/resumed_runs.h"

namespace dptrain {

using namespace test;

TEST_CASE("max_staleness 0 has the bits of sync at 1, 2 and 4 replicas, short last steps included") {
  for (const char* yaml : {kAsyncMlp, kAsyncCnn, kAsyncNorms}) {
    const Summary sync = run_async_job(async_job(yaml, 2, ""));
    for (const std::int64_t replicas : {1, 2, 4, 6}) {
      for (const char* on_stale : {"wait", "scale"}) {
        const Summary s = run_async_job(
            async_job(yaml, replicas, fmt::format("{{max_staleness: 0, on_stale: {}, shards: 2}}", on_stale)));
        CHECK(s.weights_hash == sync.weights_hash);
        CHECK(s.test_loss == sync.test_loss);
        CHECK(s.final_loss == sync.final_loss);
        CHECK(s.steps == sync.steps);
        CHECK(s.mode == "async");
        CHECK(s.reproducible);
        REQUIRE(s.async);
        CHECK(s.async->max_staleness == 0);
        CHECK(s.async->versions == s.steps);
      }
    }
  }
}

TEST_CASE("threads: the lag stays within its bound, and the summary counts every gradient") {
  constexpr std::int64_t kGradients = 3 * 11;
  for (const char* updates : {"locked", "hogwild"}) {
    for (const char* on_stale : {"wait", "drop", "scale"}) {
      for (const std::int64_t bound : {1, 2, 8}) {
        const Summary s = run_async_job(async_job(
            kAsyncMlp, 4, fmt::format("{{max_staleness: {}, on_stale: {}, updates: {}}}", bound, on_stale, updates)));
        REQUIRE(s.async);
        const AsyncReport& async = *s.async;
        CHECK(async.max_staleness <= bound);
        CHECK(std::accumulate(async.histogram.begin(), async.histogram.end(), std::int64_t{0}) + async.dropped ==
              kGradients);
        CHECK(async.versions == kGradients - async.dropped);
        CHECK_FALSE(s.reproducible);
        CHECK(s.status == RunStatus::done);
      }
    }
  }
}

TEST_CASE("several gradients a version: rests in the middle of one apply it short") {
  const Summary s = run_async_job(async_job(kAsyncMlp, 3, "{updates_per_apply: 3}"));
  // Rests after steps 2, 3, 4, 6, 8, 9 of 4, 4 and 3 micro-batches: 8, 3, 4, 7, 8, 3.
  CHECK(s.async->versions == 3 + 1 + 2 + 3 + 3 + 1);
}

TEST_CASE("every sample of an epoch is gathered exactly once") {
  for (const char* async : {"{}", "{max_staleness: 1}", "{updates: hogwild}"}) {
    DatasetPair data = async_data();
    auto set = std::make_unique<MemoryDataset>(kAsyncSamples, kAsyncShape, 3, 1);
    std::mutex mutex;
    std::vector<int> uses(static_cast<std::size_t>(kAsyncSamples));
    set->on_gather = [&](std::span<const std::int64_t> ids) {
      const std::lock_guard lock(mutex);
      for (const std::int64_t id : ids) ++uses[static_cast<std::size_t>(id)];
    };
    data.train = std::move(set);
    Reporter silent;
    train(async_job(kAsyncMlp, 4, async), data, silent);
    CHECK(std::count(uses.begin(), uses.end(), 3) == kAsyncSamples);
  }
}

TEST_CASE("a stop ends the run between steps, and it goes on from there to the end") {
  for (const char* async :
       {"{max_staleness: 0}", "{}", "{updates: hogwild, max_staleness: 2}", "{updates_per_apply: 3}"}) {
    const JobSpec job = async_job(kAsyncCnn, 2, async);
    const PartsOfRun parts{.job = job, .shape = kAsyncShape, .train_samples = kAsyncSamples, .test_samples = 70};
    TemporaryFolder folder;
    const Summary first = parts.part(folder.path(), 20, job.devices);
    CHECK(first.status == RunStatus::stopped);
    CHECK(first.steps >= 2);
    CHECK(first.steps < 9);
    DevicesSpec devices = job.devices;
    devices.count = 3;
    const Summary second = parts.part(folder.path(), to_the_end, devices);
    CHECK(second.status == RunStatus::done);
    CHECK(second.steps == 9);
    REQUIRE(second.async);
    CHECK(second.async->versions > first.async->versions);
    CHECK(std::accumulate(second.async->histogram.begin(), second.async->histogram.end(), std::int64_t{0}) == 33);
    if (job.async.max_staleness == 0) CHECK(second.weights_hash == parts.whole().weights_hash);
  }
}

TEST_CASE("a gradient that is not finite ends the run with its place, or is left out") {
  const Override drill{"--set", "drills", "[{at_step: 3, replica: 1, do: nan}]"};
  const auto reaches_drill = [] { return takes_part(1, 11); };  // the first micro-batch of step 3
  const std::string message =
      async_failure(async_job(kAsyncMlp, 2, "{}", {drill}), ExitStatus::failed, reaches_drill());
  CHECK(contains(message, "the gradient of 4.weight is not finite at step "));
  CHECK(contains(message, "on replica 1: training has diverged"));

  const Summary s = run_async_job(
      async_job(kAsyncMlp, 2, "{max_staleness: 1}", {drill, {"--set", "faults.on_nan", "skip"}}), reaches_drill());
  CHECK(s.status == RunStatus::done);
  CHECK(s.async->skipped == 1);
  CHECK(s.async->versions == 32);
  REQUIRE(s.faults.size() == 1);
  CHECK(s.faults.front().replica == 1);
  CHECK(std::isfinite(s.final_loss));
}

TEST_CASE("what is left out in a row is counted over a checkpoint") {
  // One micro-batch a step, so that nothing good comes between the two.
  const auto job = [](const char* drills) {
    return async_job(kAsyncMlp, 1, "{}",
                     {{"--set", "train.micro_batch_size", "16"},
                      {"--set", "drills", drills},
                      {"--set", "faults", "{on_nan: skip, max_skips: 1}"}});
  };
  const JobSpec both = job("[{at_step: 1, replica: 0, do: nan}, {at_step: 2, replica: 0, do: nan}]");
  const std::string whole = async_failure(both, ExitStatus::failed);
  CHECK(contains(whole, "micro-batch 0 on replica 0, after 1 in a row that were left out (faults.max_skips)"));
  TemporaryFolder folder;
  run_async_job(both, {.checkpoints = {.run_folder = folder.path()}, .until = 2});
  const auto resume = [&] {
    auto checkpoint = newest_checkpoint(folder.path(), [](const std::string&) {});
    return TrainOptions{.checkpoints = {.run_folder = folder.path(),
                                        .resume_from = std::make_shared<Checkpoint>(std::move(*checkpoint))}};
  };
  CHECK(async_failure(both, ExitStatus::failed, resume()) == whole);
  const JobSpec later = job("[{at_step: 1, replica: 0, do: nan}, {at_step: 3, replica: 0, do: nan}]");
  CHECK(run_async_job(later, resume()).async->skipped == 2);
}

TEST_CASE("messages name the rate of the version, not that of the step") {
  const JobSpec job = async_job(kAsyncMlp, 2, "{}", {{"--set", "model.layers", "[flatten, {linear: 3}]"}});
  DatasetPair data = async_data();
  auto broken = std::make_unique<MemoryDataset>(70, kAsyncShape, 3, 2);
  broken->scale = NAN;
  data.test = std::move(broken);
  Reporter silent;
  std::string message;
  try {
    train(job, data, silent);
  } catch (const Error& error) {
    message = error.what();
  }
  CAPTURE(message);
  const Schedule rates(job.train.schedule, 0.05, 33, 11);
  CHECK(contains(
      message, fmt::format("the test loss is not finite after step 2 (epoch 0.67, learning rate {:g})", rates.lr(8))));
}

TEST_CASE("unbounded, with a rate that is far too large: stopped, not ended with a wrong result") {
  const std::string message = async_failure(
      async_job(kAsyncMlp, 4, "{}", {{"--set", "train.optimizer", "{name: sgd, lr: 1e20}"}}), ExitStatus::failed);
  CHECK(contains(message, "not finite"));
  CHECK(contains(message, "training has diverged"));
}

TEST_CASE("a replica that fails ends the run, and nobody waits for it") {
  for (const char* async : {"{}", "{max_staleness: 0}", "{max_staleness: 2}"}) {
    const JobSpec job = async_job(kAsyncMlp, 3, async, {{"--set", "drills", "[{at_step: 1, replica: 0, do: throw}]"}});
    CHECK(contains(async_failure(job, ExitStatus::failed, takes_part(0, 4)), "replica 0 failed in step "));
  }
}

TEST_CASE("what the mode cannot do is refused before the first step") {
  CHECK(contains(
      async_failure(async_job(kAsyncMlp, 2, "{}", {{"--set", "faults.on_nan", "rollback"}}), ExitStatus::usage),
      "rollback is for mode sync"));
  CHECK(contains(async_failure(async_job(kAsyncMlp, 2, "{}", {{"--set", "faults.on_replica_failure", "continue"}}),
                               ExitStatus::usage),
                 "continue is for mode sync"));
  CHECK(contains(async_failure(async_job(kAsyncMlp, 2, "{}", {{"--set", "train.optimizer", "{name: muon, lr: 0.1}"}}),
                               ExitStatus::usage),
                 "optimizer muon is for mode: sync, and this is mode: async"));
  CHECK(contains(
      async_failure(async_job(kAsyncMlp, 2, "{}", {{"--set", "train.ema", "{decay: 0.9}"}}), ExitStatus::usage),
      "train.ema is for mode: sync"));
}

TEST_CASE("locked or not, a model with statistics trains and ends finite") {
  for (const char* async :
       {"{on_stale: scale, updates: locked}", "{updates: hogwild}", "{on_stale: drop, max_staleness: 1}"}) {
    CAPTURE(async);
    const Summary s = run_async_job(async_job(kAsyncNorms, 3, async));
    CHECK(s.status == RunStatus::done);
    CHECK(std::isfinite(s.test_loss));
  }
}

TEST_CASE("fallback: above the loss the run goes on with versions of whole steps") {
  const std::vector<Override> log{{"--set", "log.every", "2 steps"}};
  for (const char* updates : {"locked", "hogwild"}) {
    const Summary s = run_async_job(
        async_job(kAsyncMlp, 3, fmt::format("{{fallback: {{if_loss_above: 0.01}}, updates: {}}}", updates), log));
    REQUIRE(s.async);
    const std::int64_t at = s.async->fallback_step;
    CHECK(at >= 2);
    CHECK(at <= 6);
    CHECK(s.status == RunStatus::done);
    CHECK(s.async->versions < 33);
  }
  const Summary calm = run_async_job(async_job(kAsyncMlp, 3, "{fallback: {if_loss_above: 1000}}", log));
  CHECK(calm.async->fallback_step == -1);
  CHECK(calm.async->versions == 33);
}

}  // namespace dptrain

// How runs end: as planned, by a stop request, by errors of any replica; and what is refused before a run.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>

#include "core/error.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/cpu/cpu_replica.h"
#include "train/failing_runs.h"
#include "train/fit/fit.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

using test::MemoryDataset;

const char* const kMlp = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [flatten, {linear: 9}, relu, {dropout: 0.2}, {linear: 3}]
train: {epochs: 2, global_batch_size: 16, micro_batch_size: 4, optimizer: {name: sgd, lr: 0.1}}
)";
const char* const kCnn = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {max_pool2d: 2}, flatten, {linear: 3}]
train: {epochs: 2, global_batch_size: 16, micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: adam}}
)";
const Shape kShape{1, 6, 6};

JobSpec job_of(const char* yaml, std::int64_t replicas) {
  JobSpec job = read_job_text(yaml, "small.yaml");
  job.devices.count = replicas;
  return job;
}

Summary run(const JobSpec& job, const DatasetPair& data, const TrainOptions& options = {}) {
  Reporter silent;
  return train(job, data, silent, options);
}

/// What a run says on standard error; an error that ends it comes first.
std::string said(const JobSpec& job, const DatasetPair& data) {
  char* bytes = nullptr;
  std::size_t size = 0;
  std::FILE* messages = ::open_memstream(&bytes, &size);
  std::string text;
  try {
    Reporter reporter({.quiet = true, .messages = messages}, std::nullopt);
    train(job, data, reporter);
  } catch (const Error& error) {
    text = error.what();
  }
  std::fclose(messages);
  text += std::string(bytes, size);
  std::free(bytes);
  return text;
}

using test::failure;
using test::has;

}  // namespace

TEST_CASE("1 to 4 replicas: a whole run, its numbers, and one hash") {
  for (const char* yaml : {kMlp, kCnn}) {
    const DatasetPair data = test::memory_pair(43, 70, kShape, 3);
    std::string hash;
    for (std::int64_t replicas = 1; replicas <= 4; ++replicas) {
      int saves = 0;
      std::int64_t saved_at = 0;
      const Summary s = run(job_of(yaml, replicas), data, {.save = [&](const WeightsView& weights) {
                              ++saves;
                              saved_at = weights.step;
                              CHECK(weights.table.hash(weights.flat).size() == 32);
                            }});
      if (hash.empty()) hash = s.weights_hash;
      CHECK(s.weights_hash == hash);
      CHECK(s.status == RunStatus::done);
      CHECK(s.steps == 6);
      CHECK(s.samples == 86);
      CHECK(s.epochs == 2);
      CHECK(s.replicas == replicas);
      CHECK(s.micro_batches == 4);
      CHECK(s.test_accuracy >= 0);
      CHECK(s.test_accuracy <= 1);
      CHECK(saves == 1);
      CHECK(saved_at == 6);
    }
  }
}

TEST_CASE("every sample of an epoch is gathered exactly once by training, every test sample once by an evaluation") {
  for (const std::int64_t workers : {0, 1}) {
    DatasetPair data{nullptr, nullptr, "memory", "generated"};
    std::mutex mutex;
    std::vector<int> train_seen(43), test_seen(131);
    const auto counting = [&mutex](std::vector<int>& seen) {
      auto set = std::make_unique<MemoryDataset>(static_cast<std::int64_t>(seen.size()), kShape, 3, 1);
      set->on_gather = [&](std::span<const std::int64_t> ids) {
        const std::lock_guard lock(mutex);
        for (const std::int64_t id : ids) ++seen[static_cast<std::size_t>(id)];
      };
      return set;
    };
    data.train = counting(train_seen);
    data.test = counting(test_seen);
    JobSpec job = job_of(kMlp, 3);
    job.data.workers = workers;
    job.evaluate.every = Interval{.every = 1, .unit = Interval::Unit::epochs};
    run(job, data);
    CHECK(train_seen == std::vector<int>(43, 2));
    CHECK(test_seen == std::vector<int>(131, 2));
  }
}

TEST_CASE("a last step whose one micro-batch is larger than those of a full step") {
  const DatasetPair data = test::memory_pair(27, 70, kShape, 3);
  for (const std::int64_t workers : {0, 1}) {
    JobSpec job = job_of(kCnn, 2);
    job.train.global_batch_size = 10;
    job.train.micro_batch_size = 7;
    job.data.workers = workers;
    CHECK(run(job, data).samples == 54);
  }
}

TEST_CASE("expect: below it the run is expect_not_met") {
  const DatasetPair data = test::memory_pair(43, 70, kShape, 3);
  JobSpec job = job_of(kMlp, 2);
  job.expect.test_accuracy = 1.0;
  CHECK(run(job, data).status == RunStatus::expect_not_met);
  job.expect.test_accuracy = 0.0;
  CHECK(run(job, data).status == RunStatus::done);
  job.expect.test_loss = 1e-6;
  CHECK(run(job, data).status == RunStatus::expect_not_met);
}

TEST_CASE("expect: what was missed is a warning, and what was met is none") {
  const DatasetPair data = test::memory_pair(43, 70, kShape, 3);
  JobSpec job = job_of(kMlp, 2);
  job.expect.test_accuracy = 1.0;
  job.expect.test_loss = 1e-6;
  const std::string text = said(job, data);
  CHECK(has(text, "warning: test accuracy "));
  CHECK(has(text, "% is below the 100% that expect.test_accuracy asks for\n"));
  CHECK(has(text, " is above the 1e-06 that expect.test_loss asks for\n"));
  job.expect.test_accuracy = 0.0;
  job.expect.test_loss = 1e6;
  CHECK(said(job, data).empty());
}

TEST_CASE("what is hardly meant is warned of: warm-up that does not end, softmax twice") {
  const DatasetPair data = test::memory_pair(43, 70, kShape, 3);
  JobSpec job = job_of(kMlp, 2);
  job.train.schedule.warmup_steps = 5;
  CHECK(said(job, data).empty());
  job.train.schedule.warmup_steps = 6;
  CHECK(has(said(job, data), "warning: train.lr_schedule.warmup_steps: 6 steps of warm-up in a run of 6"));
  job = job_of(kMlp, 2);
  job.model.layers.push_back({SoftmaxSpec{}, {}});
  CHECK(has(said(job, data), "the softmax by itself: it is taken twice"));
  job.model.loss = LossKind::mse;
  CHECK(said(job, data).empty());
}

TEST_CASE("time: additions of gradient sums are reduce, a replica's own ones too") {
  const DatasetPair data = test::memory_pair(64, 70, kShape, 3);
  for (const std::int64_t parts : {1, 4}) {
    JobSpec job = job_of(kMlp, 1);
    job.train.micro_batch_size = 16 / parts;
    const RunSchedule schedule(job, 64, 1);
    CpuReplica replica({.job = job, .schedule = schedule, .data = data});
    std::vector<float> weights(static_cast<std::size_t>(replica.parameters().floats()));
    replica.bind(weights.data());
    const Replica::Times times = replica.run({.step = 0});
    CHECK(times.compute > 0);
    CHECK((times.reduce > 0) == (parts > 1));
  }
}

TEST_CASE("time: the only step of a run counts to its end, the waits for other replicas too") {
  JobSpec job = job_of(kMlp, 2);
  job.train.epochs.reset();
  job.train.steps = 1;
  const Summary one = run(job, test::memory_pair(64, 70, kShape, 3));
  CHECK(one.shares.reduce > 0);
  CHECK(one.shares.wait > 0);
  CHECK(one.shares.data + one.shares.compute + one.shares.reduce + one.shares.wait == doctest::Approx(1));
}

TEST_CASE("a stop request ends the run after the step that is running, saved and evaluated") {
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    StopRequest stop{2};
    DatasetPair data = test::memory_pair(43, 70, kShape, 3);
    std::int64_t saved_at = -1;
    const Summary s =
        run(job_of(kMlp, replicas), data, {.stop = &stop, .save = [&](const WeightsView& w) { saved_at = w.step; }});
    CHECK(s.status == RunStatus::stopped);
    CHECK(s.steps == 1);
    CHECK(s.samples == 16);
    CHECK(saved_at == 1);
    CHECK(s.test_loss > 0);
  }
}

TEST_CASE("a stop request cuts an evaluation short after its grace: stopped, saved, and no accuracy of other weights") {
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    for (const std::int64_t epoch : {1, 2}) {  // in the middle of the run, and when all its steps are done
      StopRequest stop{0};
      DatasetPair data;
      data.train = std::make_unique<MemoryDataset>(43, kShape, 3, 1);
      auto test = std::make_unique<MemoryDataset>(500, kShape, 3, 2);
      std::atomic<std::int64_t> seen{0};
      test->on_gather = [&](std::span<const std::int64_t> ids) {
        if ((seen += static_cast<std::int64_t>(ids.size())) > 500 * (epoch - 1)) stop = 15;
      };
      data.test = std::move(test);
      JobSpec job = job_of(kMlp, replicas);
      job.evaluate.every = Interval{.every = 1, .unit = Interval::Unit::epochs};
      std::int64_t saved_at = -1;
      const Summary s = run(
          job, data, {.stop = &stop, .evaluation_grace = 0, .save = [&](const WeightsView& w) { saved_at = w.step; }});
      CHECK(s.status == RunStatus::stopped);
      CHECK(s.steps == 3 * epoch);
      CHECK(saved_at == 3 * epoch);
      CHECK(std::isnan(s.test_loss));
      CHECK(std::isnan(s.test_accuracy));
      CHECK(seen < 500 * epoch);
    }
  }
}

TEST_CASE("a loss that is not finite ends the run with status 1 and names the step") {
  for (std::int64_t replicas = 1; replicas <= 3; ++replicas) {
    JobSpec job = job_of(kMlp, replicas);
    std::get<SgdSpec>(job.train.optimizer).lr = 1e30;
    const DatasetPair data = test::memory_pair(43, 70, kShape, 3);
    int saves = 0;
    const std::string message =
        failure(ExitStatus::failed, [&] { run(job, data, {.save = [&](const WeightsView&) { ++saves; }}); });
    CHECK(has(message, "not finite at step"));
    CHECK(has(message, "learning rate"));
    CHECK(saves == 0);

    // Where the last update diverges, only the evaluation can see it.
    job.train.epochs.reset();
    job.train.steps = 1;
    CHECK(has(failure(ExitStatus::failed, [&] { run(job, data, {.save = [&](const WeightsView&) { ++saves; }}); }),
              "test loss is not finite after step 1"));
    CHECK(saves == 0);
  }
}

TEST_CASE("the first error of a replica ends the run, whoever throws it and when") {
  for (const std::int64_t workers : {0, 1}) {
    for (std::int64_t replicas = 1; replicas <= 4; ++replicas) {
      for (const std::int64_t bad : {0, 20, 42}) {
        auto set = std::make_unique<MemoryDataset>(43, kShape, 3, 1);
        set->on_gather = [bad](std::span<const std::int64_t> ids) {
          for (const std::int64_t id : ids) {
            if (id == bad) fail(ExitStatus::data, "sample {} is bad", id);
          }
        };
        DatasetPair data = test::memory_pair(43, 70, kShape, 3);
        data.train = std::move(set);
        JobSpec job = job_of(kMlp, replicas);
        job.data.workers = workers;
        CHECK(has(failure(ExitStatus::data, [&] { run(job, data); }), "is bad"));
      }
      auto set = std::make_unique<MemoryDataset>(70, kShape, 3, 1);
      set->on_gather = [](std::span<const std::int64_t> ids) {
        if (ids.back() == 69) fail(ExitStatus::data, "the last test sample is bad");
      };
      DatasetPair data = test::memory_pair(43, 70, kShape, 3);
      data.test = std::move(set);
      CHECK(has(failure(ExitStatus::data, [&] { run(job_of(kMlp, replicas), data); }), "last test sample"));
      data = test::memory_pair(43, 70, kShape, 3);
      CHECK(has(failure(ExitStatus::failed,
                        [&] {
                          run(job_of(kMlp, replicas), data,
                              {.save = [](const WeightsView&) { fail(ExitStatus::failed, "disk full"); }});
                        }),
                "disk full"));
    }
  }
}

TEST_CASE("replica_count: as asked for, within the micro-batches of a full step") {
  JobSpec job = job_of(kMlp, 4);
  CHECK(replica_count(job, 43) == 4);
  job.devices.count = 5;
  std::string message = failure(ExitStatus::usage, [&] { replica_count(job, 43); });
  CHECK(has(message, "5 replicas for 4 micro-batches"));
  CHECK(has(message, "use at most 4 devices"));
  job.devices.count = 3;
  CHECK(has(failure(ExitStatus::usage, [&] { replica_count(job, 7); }),
            "3 replicas for 2 micro-batches"));  // a tiny dataset
  job.devices.count.reset();
  CHECK(replica_count(job, 43) >= 1);
  CHECK(replica_count(job, 43) <= 4);
  CHECK(replica_count(job, 4) == 1);
  job.devices.threads_per_replica = 100000;
  CHECK(replica_count(job, 43) == 1);
  job.devices.type = DeviceType::cuda;
  CHECK(has(failure(ExitStatus::usage, [&] { replica_count(job, 43); }), "GPU"));
}

TEST_CASE("check_data_fit: sample shape and classes, with the spec's lines") {
  const JobSpec job = job_of(kMlp, 1);
  CHECK_NOTHROW(check_data_fit(job, kShape, 3));
  std::string message = failure(ExitStatus::usage, [&] { check_data_fit(job, Shape{1, 28, 28}, 3); });
  CHECK(has(message, "small.yaml:4:"));
  CHECK(has(message, Shape{1, 6, 6}.text()));
  CHECK(has(message, Shape{1, 28, 28}.text()));
  message = failure(ExitStatus::usage, [&] { check_data_fit(job, kShape, 10); });
  CHECK(has(message, "small.yaml:5:"));
  CHECK(has(message, "10 classes"));
  const DatasetPair data = test::memory_pair(43, 70, kShape, 10);
  CHECK(has(failure(ExitStatus::usage, [&] { run(job, data); }), "10 classes"));
}

TEST_CASE("a batch norm of one value is refused where the data make its last micro-batch that small") {
  JobSpec job = job_of(kMlp, 1);
  job.train.global_batch_size = 16;
  job.train.micro_batch_size = 8;
  const auto linear = std::find_if(job.model.layers.begin(), job.model.layers.end(),
                                   [](const LayerSpec& layer) { return std::holds_alternative<LinearSpec>(layer.op); });
  job.model.layers.insert(linear + 1, {NormSpec{}, linear->at});
  CHECK_NOTHROW(check_batches_fit(job, RunSchedule(job, 42, 1)));
  const DatasetPair data = test::memory_pair(33, 70, kShape, 3);  // 16, 16 and 1
  const std::string message = failure(ExitStatus::usage, [&] { run(job, data); });
  CHECK(has(message, "small.yaml:5:"));
  CHECK(has(message, "batch_norm: in a micro-batch of 1 sample it sees 1 value a channel"));
}

}  // namespace dptrain

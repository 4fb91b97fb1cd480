// Norms over the whole step: the same bits whoever runs what, and that replicas which meet in the midst of a step
// neither hang nor blame each other where something goes wrong.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "kernels/kernels.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "support/process.h"
#include "train/failing_runs.h"
#include "train/faults/watchdog.h"
#include "train/fit/fit.h"
#include "train/micro_batches.h"
#include "train/resumed_runs.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

const char* const kJob = R"(name: small
dataset: {name: digits}
model:
  input: [2, 6, 6]
  layers:
    - conv2d: {out_channels: 5, kernel_size: 3}
    - batch_norm: {sync: true}
    - relu
    - residual: {layers: [{batch_norm: {sync: true}}, relu, {conv2d: {out_channels: 9, kernel_size: 3, padding: 1, stride: 2}}], shortcut: projection}
    - dropout: 0.2
    - flatten
    - linear: 7
    - batch_norm: {sync: true, momentum: 0.3}
    - linear: 3
train: {epochs: 3, global_batch_size: 23, micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: adam, lr: 0.01}}
checkpoint: {every: 2 steps}
)";
// 53 samples: 23 = 6 micro-batches of 4 and 3 twice, and a last step of 7 in two, in which others idle.
const Shape kShape{2, 6, 6};
constexpr std::int64_t kTrain = 53, kTest = 70;

JobSpec job_of(std::int64_t replicas, const std::vector<std::pair<std::string, std::string>>& settings = {}) {
  std::vector<Override> overrides{{"--devices", "devices.count", std::to_string(replicas)}};
  for (const auto& [key, value] : settings) overrides.push_back({"--set", key, value});
  return read_job_text(kJob, "small.yaml", overrides);
}

DatasetPair data_of() {
  return test::memory_pair(kTrain, kTest, kShape, 3);
}

Summary run(const JobSpec& job, const TrainOptions& options = {}) {
  Reporter silent;
  return train(job, data_of(), silent, options);
}

std::string failure(const JobSpec& job, ExitStatus status = ExitStatus::failed, const TrainOptions& options = {},
                    std::optional<DatasetPair> data = {}) {
  if (!data) data = data_of();
  return test::failure(status, [&] {
    Reporter silent;
    train(job, *data, silent, options);
  });
}

using test::has;

bool same(const Summary& a, const Summary& b) {
  return a.weights_hash == b.weights_hash &&
         std::bit_cast<std::uint64_t>(a.test_loss) == std::bit_cast<std::uint64_t>(b.test_loss) &&
         std::bit_cast<std::uint64_t>(a.final_loss) == std::bit_cast<std::uint64_t>(b.final_loss);
}

}  // namespace

TEST_CASE("norms over the step: the same bits at 1 to 6 replicas, micro-batches uneven and the last step short") {
  const Summary one = run(job_of(1));
  CHECK(one.steps == 9);
  CHECK(std::isfinite(one.final_loss));
  for (const int replicas : {2, 3, 4, 5, 6}) {
    for (const char* workers : {"0", "1"}) {
      CAPTURE(replicas);
      CHECK(same(one, run(job_of(replicas, {{"data.workers", workers}}))));
    }
  }
}

TEST_CASE("norms over the step in bf16, with blocks that are computed again, evaluations in between and a rollback") {
  if (const std::string missing = cpu_lacks(ElementType::bfloat16); !missing.empty()) {
    MESSAGE("skipped: " << missing);
    return;
  }
  const auto in_bf16 = [](std::int64_t replicas, std::vector<std::pair<std::string, std::string>> more = {}) {
    more.insert(more.end(), {{"train.precision", "bf16"}, {"evaluate.every", "1 steps"}});
    return run(job_of(replicas, more));
  };
  const Summary one = in_bf16(1), exact = run(job_of(1));
  CHECK(one.weights_hash != exact.weights_hash);
  CHECK(std::abs(one.final_loss - exact.final_loss) < 0.1 * exact.final_loss);
  for (const int replicas : {2, 4, 6}) {
    CAPTURE(replicas);
    CHECK(same(one, in_bf16(replicas)));
    CHECK(same(one, in_bf16(replicas, {{"model.layers.3.residual.recompute", "true"}})));
  }
  const std::vector<std::pair<std::string, std::string>> rollback{{"faults.on_nan", "rollback"},
                                                                  {"drills", "[{at_step: 5, replica: 0, do: nan}]"}};
  CHECK(same(in_bf16(1, rollback), in_bf16(3, rollback)));
}

TEST_CASE("another cut of the step: the same losses up to rounding, and in one piece the bits without sync") {
  const std::vector<std::pair<std::string, std::string>> without{
      {"model.layers.1.batch_norm.sync", "false"},
      {"model.layers.3.residual.layers.0.batch_norm.sync", "false"},
      {"model.layers.7.batch_norm.sync", "false"}};
  const std::vector<std::pair<std::string, std::string>> plain{
      {"train.optimizer", "{name: sgd, lr: 0.05}"}, {"train.clip_grad_norm", "none"}, {"train.micro_batch_size", "23"}};
  auto whole = plain;
  whole.insert(whole.end(), without.begin(), without.end());
  const Summary reference = run(job_of(1, whole));
  CHECK(same(reference, run(job_of(1, plain))));
  auto cut = plain;
  for (const char* size : {"12", "5", "1"}) {
    CAPTURE(size);
    cut.back() = {"train.micro_batch_size", size};
    const Summary here = run(job_of(2, cut));
    CHECK(std::abs(here.final_loss - reference.final_loss) < 1e-5 * reference.final_loss);
    CHECK(std::abs(here.test_loss - reference.test_loss) < 1e-5 * reference.test_loss);
    CHECK(here.weights_hash != reference.weights_hash);
  }
  // It is no batch norm of micro-batches.
  whole.at(2) = {"train.micro_batch_size", "5"};
  CHECK(std::abs(run(job_of(2, whole)).final_loss - reference.final_loss) > 1e-3 * reference.final_loss);
}

TEST_CASE("stopped and gone on with at other numbers of replicas: the same bits") {
  const JobSpec job = job_of(1);
  const test::PartsOfRun parts{job, kShape, kTrain, kTest};
  const Summary whole = parts.whole();
  const test::TemporaryFolder folder;
  DevicesSpec devices = job.devices;
  Summary part;
  for (const std::int64_t replicas : {3, 1, 4, 2}) {
    devices.count = replicas;
    part = parts.part(folder.path(), replicas == 2 ? test::to_the_end : 25, devices);
  }
  CHECK(part.status == RunStatus::done);
  CHECK(part.steps == whole.steps);
  CHECK(part.weights_hash == whole.weights_hash);
}

TEST_CASE("balance: micro-batches that move change no bit") {
  const std::vector<std::pair<std::string, std::string>> longer{{"train.epochs", "20"}};
  auto balanced = longer;
  balanced.emplace_back("balance", "auto");
  balanced.emplace_back("drills", "[{at_step: 1, replica: 1, do: slow, factor: 6}]");
  const Summary moved = run(job_of(3, balanced));
  CHECK(same(run(job_of(1, longer)), moved));
}

TEST_CASE("a replica that fails in a step, or whose samples cannot be had: the run ends with its error") {
  for (const std::int64_t replicas : {1, 2, 3}) {
    const std::int64_t bad = replicas - 1;
    CHECK(failure(job_of(replicas, {{"drills", fmt::format("[{{at_step: 3, replica: {}, do: throw}}]", bad)}})) ==
          fmt::format("replica {} failed in step 3: this is a drill", bad));
    DatasetPair data = data_of();
    auto set = std::make_unique<test::MemoryDataset>(kTrain, kShape, 3, 1);
    std::atomic<int> gathered{0};
    set->on_gather = [&](auto) {
      if (++gathered == 9) fail(ExitStatus::failed, "no such sample");
    };
    data.train = std::move(set);
    const std::string message = failure(job_of(replicas), ExitStatus::failed, {}, std::move(data));
    CHECK(has(message, "no such sample"));
  }
}

TEST_CASE("on_nan: the micro-batch and the replica it came from are named, and not those that it spoils") {
  for (const std::int64_t replicas : {1, 2, 3}) {
    CAPTURE(replicas);
    const std::int64_t bad = replicas - 1;
    const int micro_batch = share(6, static_cast<int>(replicas), static_cast<int>(bad)).first;
    const std::string poisoned =
        failure(job_of(replicas, {{"drills", fmt::format("[{{at_step: 3, replica: {}, do: nan}}]", bad)}}));
    CHECK(has(poisoned, "the gradient of 8.weight is not finite at step 3"));
    CHECK(has(poisoned, fmt::format("micro-batch {} on replica {}", micro_batch, bad)));
  }
  // Statistics of the step carry one bad sample into every loss.
  for (const int replicas : {1, 2, 6}) {
    CAPTURE(replicas);
    struct OneBad : test::MemoryDataset {
      using MemoryDataset::MemoryDataset;
      void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const override {
        MemoryDataset::gather(ids, out, labels);
        const auto bad = std::find(ids.begin(), ids.end(), 15);
        if (bad != ids.end()) out[(bad - ids.begin()) * kShape.elements()] = std::numeric_limits<float>::infinity();
      }
    };
    DatasetPair data = data_of();
    data.train = std::make_unique<OneBad>(kTrain, kShape, 3, 1);
    // Not shuffled, sample 15 of the first step is in micro-batch 3: [0, 4), [4, 8), ..., [12, 16).
    const std::string message =
        failure(job_of(replicas, {{"train.shuffle", "false"}}), ExitStatus::failed, {}, std::move(data));
    CHECK(has(message, "the loss is not finite at step 0"));
    CHECK(has(message, fmt::format("micro-batch 3 on replica {}", replicas == 6 ? 3 : replicas - 1)));
  }
}

TEST_CASE("on_nan: skip and rollback give the same bits at any number of replicas") {
  for (const char* policy : {"skip", "rollback"}) {
    std::string first;
    for (const int replicas : {1, 2, 4}) {
      const Summary here =
          run(job_of(replicas, {{"faults.on_nan", policy}, {"drills", "[{at_step: 3, replica: 0, do: nan}]"}}));
      CAPTURE(policy);
      if (first.empty()) first = here.weights_hash;
      CHECK(here.weights_hash == first);
      CHECK(here.skipped_steps == (std::string(policy) == "skip" ? 1 : 0));
    }
    CHECK(first != run(job_of(1)).weights_hash);
  }
}

TEST_CASE("the step deadline: who waits in the midst of a step is not late") {
  std::mutex mutex;
  std::vector<int> late;
  {
    Watchdog watchdog(2, 0.2, [&](int rank, std::int64_t) {
      const std::lock_guard lock(mutex);
      late.push_back(rank);
    });
    watchdog.pause(0);  // between steps
    watchdog.resume(0);
    watchdog.begin(0, 1);
    watchdog.begin(1, 1);
    watchdog.pause(0);
    const auto is_over = [&] {
      const std::lock_guard lock(mutex);
      return !late.empty();
    };
    while (!is_over()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  CHECK(late == std::vector<int>{1});
  late.clear();
  {
    Watchdog watchdog(1, 0.2, [&](int rank, std::int64_t) {
      const std::lock_guard lock(mutex);
      late.push_back(rank);
    });
    watchdog.begin(0, 1);
    const auto is_over = [&] {
      const std::lock_guard lock(mutex);
      return !late.empty();
    };
    // Its own time goes on where it was.
    while (!is_over()) {
      watchdog.pause(0);
      watchdog.resume(0);
    }
  }
  CHECK(late == std::vector<int>{0});
}

TEST_CASE("what norms over the step do not go with is refused with the line") {
  const auto refused = [](const std::vector<std::pair<std::string, std::string>>& settings) {
    try {
      job_of(1, settings);
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::usage);
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(has(refused({{"mode", "async"}}),
            "small.yaml:7:7: error: batch_norm: sync: true is for mode: sync, and this is mode: async"));
  CHECK(has(refused({{"mode", "local_sgd"}}), "and this is mode: local_sgd"));
  CHECK(has(refused({{"faults.on_replica_failure", "continue"}}), "the replicas meet in the midst of a step"));
  CHECK(refused({{"faults.on_nan", "skip"}, {"balance", "auto"}}).empty());
  // One value a channel in a micro-batch is enough; in a step it is not.
  const auto of_features = [](int train_samples) {
    const JobSpec job = read_job_text(
        "dataset: {name: digits}\nmodel: {input: [9], layers: [{batch_norm: {sync: true}}, {linear: "
        "3}]}\ntrain: {steps: 3, global_batch_size: 4, micro_batch_size: 1, optimizer: {name: sgd, "
        "lr: 0.1}}\ndevices: {type: cpu, count: 2}\n",
        "features.yaml");
    Reporter silent;
    return train(job, test::memory_pair(train_samples, 10, Shape{9}, 3), silent);
  };
  CHECK(of_features(10).steps == 3);
  CHECK_THROWS_WITH_AS(of_features(9), doctest::Contains("in a step of 1 sample it sees 1 value a channel"), Error);
}

TEST_CASE(
    "recomputed blocks: the same bits at 1, 2 and 4 replicas, in every mode that runs them, with norms over the step "
    "too") {
  const char* const block = "model.layers.3.residual.recompute";
  const Summary plain = run(job_of(1));
  for (const int replicas : {1, 2, 4}) CHECK(same(plain, run(job_of(replicas, {{block, "true"}}))));
  const std::vector<std::pair<std::string, std::string>> ghost{
      {"model.layers.1.batch_norm.sync", "false"},
      {"model.layers.3.residual.layers.0.batch_norm.sync", "false"},
      {"model.layers.7", "{group_norm: 1}"}};
  for (const char* mode : {"sync", "local_sgd", "async"}) {
    CAPTURE(mode);
    auto settings = ghost;
    settings.emplace_back("mode", mode);
    settings.emplace_back("async.max_staleness", "0");
    settings.emplace_back("train.clip_grad_norm", "none");
    const Summary kept = run(job_of(1, settings));
    settings.emplace_back(block, "true");
    for (const int replicas : {1, 2, 4}) CHECK(run(job_of(replicas, settings)).weights_hash == kept.weights_hash);
  }
}

}  // namespace dptrain

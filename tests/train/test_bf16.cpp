// Training in bfloat16 on the CPU, in every mode: the same bits at any number of replicas, and accuracy as in fp32.
// Random jobs in it are among those of test_same_bits.cpp.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>

#include "core/error.h"
#include "data/open/open.h"
#include "kernels/kernels.h"
#include "spec/reader.h"
#include "train/trainer.h"

namespace dptrain {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

bool has_bf16() {
  const std::string missing = cpu_lacks(ElementType::bfloat16);
  if (!missing.empty()) MESSAGE("skipped: " << missing);
  return missing.empty();
}

/// Batch norms, a residual block, dropout and augmentation, in batches that nothing divides; all ways that convolutions
/// and maxima go in 16 bits.
constexpr const char* kJob = R"(name: bf16
seed: 3
dataset: {name: digits, train_samples: 190, test_samples: 60, augment: [{random_crop: 2}, cutout: 5]}
model:
  input: [1, 28, 28]
  layers:
    - conv2d: {out_channels: 12, kernel_size: 3, stride: 2, bias: false}
    - batch_norm
    - relu
    - conv2d: {out_channels: 32, kernel_size: 3, padding: 1, bias: false}
    - max_pool2d: 2
    - residual:
        layers:
          - conv2d: {out_channels: 40, kernel_size: 3, stride: 2, padding: 1, bias: false}
          - batch_norm
        shortcut: pad
    - relu
    - conv2d: {out_channels: 16, kernel_size: 5, padding: 2}
    - max_pool2d: {kernel_size: 3, stride: 2}
    - dropout: 0.25
    - flatten
    - linear: 32
    - gelu
    - linear: 10
train:
  steps: 9
  global_batch_size: 50
  micro_batch_size: 13
  precision: bf16
  optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
)";

Summary run(const char* text, int replicas, const Settings& settings = {}) {
  std::vector<Override> overrides{{"--devices", "devices.count", std::to_string(replicas)}};
  for (const auto& [key, value] : settings) overrides.push_back({"--set", key, value});
  const JobSpec job = read_job_text(text, "bf16.yaml", overrides);
  Reporter silent;
  return train(job, open_dataset(job.dataset, {.offline = true, .progress = {}}), silent);
}

}  // namespace

TEST_CASE("bf16: the same bits at 1 to 4 replicas, and other bits than in fp32") {
  if (!has_bf16()) return;
  const Summary one = run(kJob, 1);
  CHECK(one.steps == 9);
  for (const int replicas : {2, 3, 4}) CHECK(run(kJob, replicas).weights_hash == one.weights_hash);
  CHECK(run(kJob, 1, {{"train.precision", "fp32"}}).weights_hash != one.weights_hash);
}

TEST_CASE("bf16: evaluations, of an average of the weights too, move nothing") {
  if (!has_bf16()) return;
  const Settings average{{"train.ema", "{decay: 0.9}"}};
  Settings often = average;
  often.emplace_back("evaluate.every", "1 steps");
  const Summary once = run(kJob, 2, average), each = run(kJob, 2, often);
  CHECK(once.weights_hash == each.weights_hash);
  CHECK(once.test_loss == each.test_loss);
}

TEST_CASE("bf16: asynchronous training without staleness is synchronous training") {
  if (!has_bf16()) return;
  const std::string synchronous = run(kJob, 1).weights_hash;
  for (const int replicas : {1, 2, 4}) {
    CHECK(run(kJob, replicas, {{"mode", "async"}, {"async.max_staleness", "0"}}).weights_hash == synchronous);
  }
  const Summary stale = run(kJob, 2, {{"mode", "async"}, {"async.max_staleness", "3"}});
  CHECK(stale.status == RunStatus::done);
}

TEST_CASE("bf16: local SGD gives the same bits at any number of replicas") {
  if (!has_bf16()) return;
  const Settings local{{"mode", "local_sgd"}, {"local_sgd", "{workers: 4, sync_every: 2}"}};
  const std::string one = run(kJob, 1, local).weights_hash;
  for (const int replicas : {2, 4}) CHECK(run(kJob, replicas, local).weights_hash == one);
}

TEST_CASE("bf16: what is not finite is found") {
  if (!has_bf16()) return;
  CHECK_THROWS_AS(run(kJob, 2, {{"train.optimizer.lr", "1e30"}, {"train.steps", "20"}}), Error);
  const Summary skipped = run(kJob, 2, {{"faults.on_nan", "skip"}, {"drills", "[{at_step: 3, replica: 1, do: nan}]"}});
  CHECK(skipped.skipped_steps == 1);
}

TEST_CASE("bf16: MNIST ends within 0.3 points of fp32") {
  if (!has_bf16()) return;
  if (std::getenv("DPTRAIN_DATA") == nullptr) {
    MESSAGE("skipped: DPTRAIN_DATA is not set");
    return;
  }
  const auto accuracy = [](const std::string& precision) {
    const JobSpec job = read_job(DPTRAIN_SOURCE_DIR "/configs/mnist.yaml",
                                 {{"--set", "train.precision", precision}, {"--set", "devices.count", "2"}});
    Reporter silent;
    return train(job, open_dataset(job.dataset, {.offline = true, .progress = {}}), silent).test_accuracy;
  };
  const auto floats = accuracy("fp32"), halves = accuracy("bf16");
  INFO("fp32 " << floats << ", bf16 " << halves);
  CHECK(floats > 0.985);
  CHECK(halves > floats - 0.003);
}

}  // namespace dptrain

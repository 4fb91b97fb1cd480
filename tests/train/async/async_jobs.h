// Purpose: small asynchronous jobs and how tests run them. Thread safety: none.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "core/error.h"
#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain::test {

inline const Shape kAsyncShape{1, 6, 6};
inline constexpr std::int64_t kAsyncSamples = 43;  // epochs of three steps of 4, 4 and 3 micro-batches

inline const char* const kAsyncMlp = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [flatten, {linear: 40}, relu, {dropout: 0.2}, {linear: 3}]
train: {epochs: 3, global_batch_size: 16, micro_batch_size: 4, optimizer: {name: sgd, lr: 0.05, momentum: 0.9}, lr_schedule: {name: cosine, warmup_steps: 2}}
evaluate: {every: 2 steps}
)";
inline const char* const kAsyncCnn = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [{conv2d: {out_channels: 5, kernel_size: 3}}, relu, {max_pool2d: 2}, flatten, {linear: 3}]
train: {epochs: 3, global_batch_size: 16, micro_batch_size: 4, clip_grad_norm: 1, optimizer: {name: adam, lr: 0.002}, lr_schedule: {name: step, step_size: 1}}
)";

/// Statistics, which are not trained, and parameters that do not decay.
inline const char* const kAsyncNorms = R"(name: small
dataset: {name: digits}
model:
  input: [1, 6, 6]
  layers: [{conv2d: {out_channels: 4, kernel_size: 3, padding: 1, bias: false}}, batch_norm, relu, {residual: [{conv2d: {out_channels: 4, kernel_size: 3, padding: 1}}, batch_norm]}, global_avg_pool, {linear: 3}]
train: {epochs: 3, global_batch_size: 16, micro_batch_size: 4, clip_grad_norm: 0.5, optimizer: {name: rmsprop, lr: 0.002, momentum: 0.9, weight_decay: 0.1, weight_decay_on: weights}, lr_scaling: {name: sqrt, reference_batch_size: 4}}
)";

/// `async` is the block's settings, empty for mode sync.
inline JobSpec async_job(const std::string& yaml, std::int64_t replicas, const std::string& async,
                         std::vector<Override> more = {}) {
  std::vector<Override> overrides{{"--devices", "devices.count", fmt::format("{}", replicas)},
                                  {"--set", "devices.type", "cpu"}};
  if (!async.empty()) {
    overrides.push_back({"--mode", "mode", "async"});
    overrides.push_back({"--set", "async", async});
  }
  overrides.insert(overrides.end(), more.begin(), more.end());
  return read_job_text(yaml, "small.yaml", overrides);
}

inline DatasetPair async_data(std::int64_t train = kAsyncSamples) {
  return memory_pair(train, 70, kAsyncShape, 3);
}

inline Summary run_async_job(const JobSpec& job, const TrainOptions& options = {}) {
  Reporter silent;
  return train(job, async_data(), silent, options);
}

/// With micro-batch `index` and those behind it replicas wait until `replica` has one of them: it takes part in what
/// follows, however its thread is scheduled. Needs a contract that lets all of them compute at a time.
inline TrainOptions takes_part(int replica, std::int64_t index) {
  auto there = std::make_shared<std::atomic<bool>>(false);
  return {.weights_read = [=](int rank, std::int64_t at, const std::function<bool()>& over) {
    if (at < index) return;
    if (rank == replica) *there = true;
    while (!*there && !over()) std::this_thread::yield();
  }};
}

/// The error of a run, which must be of this status.
inline std::string async_failure(const JobSpec& job, ExitStatus status, const TrainOptions& options = {}) {
  try {
    run_async_job(job, options);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("no error");
  return {};
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dptrain::test

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>
#include <utility>

#include "data/open/open.h"
#include "spec/reader.h"
#include "train/faults/rollback.h"
#include "train/fit/fit.h"
#include "train/memory.h"

namespace dptrain {

namespace {

/// 784-16-10 in steps of 64, as eight micro-batches.
JobSpec small_job(const std::string& more = "", const std::string& optimizer = "{name: sgd, lr: 0.1}") {
  return read_job_text(
      fmt::format("dataset: {{name: digits}}\nmodel: {{input: [1, 28, 28], layers: [flatten, linear: 16, relu, linear: "
                  "10]}}\ntrain: {{steps: 6, global_batch_size: 64, micro_batch_size: 8, optimizer: {}}}\n"
                  "devices: {{type: cpu, count: 1}}\ndata: {{prefetch: 3}}\n{}",
                  optimizer, more),
      "small.yaml");
}

struct Case {
  explicit Case(const JobSpec& job_, int replicas)
      : job(job_), schedule(job, 640, replicas), model(make_backend(job, {})->plan(schedule.batch_sizes())) {}
  SyncMemory memory(int workers = 1) const { return sync_memory(job, schedule, model, 784, workers); }
  std::int64_t flat() const { return model.parameters.floats() * 4; }
  JobSpec job;
  RunSchedule schedule;
  ModelPlan model;
};

}  // namespace

TEST_CASE("weights and optimizer state are shared, gradients, activations and batches are each replica's") {
  const Case one(small_job(), 1);
  CHECK(one.memory().shared == one.flat());
  CHECK(one.memory().copies == 0);
  CHECK(one.memory().replica.buffers == 4);  // of a tree of eight
  CHECK(one.memory().replica.gradients == 4 * one.flat());
  CHECK(one.memory().replica.activations == one.model.activation_bytes);
  CHECK(one.memory().replica.batches == 3 * 8 * 784 * 4);
  const Case eight(small_job(), 8);
  CHECK(eight.memory().replica.buffers == 1);
  CHECK(eight.memory().bytes(8) == eight.memory().shared + 8 * eight.memory().replica.bytes());
}

TEST_CASE("copies of weights in 16 bits are each replica's") {
  const Case floats(small_job(), 2);
  CHECK(floats.memory().replica.copies == floats.model.copy_bytes);
  if (const std::string missing = cpu_lacks(ElementType::bfloat16); !missing.empty()) {
    MESSAGE("skipped: " << missing);
    return;
  }
  JobSpec job = small_job();
  job.train.precision = Precision::bf16;
  const Case halves(job, 2);
  CHECK(halves.model.copy_bytes >= 2 * (784 * 16 + 16 * 10));
  CHECK(halves.memory().replica.copies == halves.model.copy_bytes);
  CHECK(halves.memory().replica.bytes() ==
        halves.memory().replica.gradients + halves.model.activation_bytes + halves.model.copy_bytes + 3 * 8 * 784 * 4);
}

TEST_CASE("what an optimizer, an average, rollbacks and micro-batches that may move add") {
  const Case adam(small_job("", "{name: adam}"), 2);
  CHECK(adam.memory().shared == 3 * adam.flat());
  Case averaged(small_job(), 2);
  averaged.job.train.ema = EmaSpec{};
  CHECK(averaged.memory().shared == 2 * averaged.flat());
  const Case careful(small_job("faults: {on_nan: rollback}\n"), 2);
  CHECK(careful.memory().copies == static_cast<std::int64_t>(RollbackPoints::kPoints) * careful.flat());
  const Case balanced(small_job("balance: auto\n"), 2);
  CHECK(balanced.memory().replica.buffers == buffers_for_any_range(8));
}

TEST_CASE("batches ahead: as many as are asked for, and one for each worker beside the replica's own") {
  const Case one(small_job(), 1);
  constexpr std::int64_t kBatch = 8 * 784 * 4;
  CHECK(one.memory(0).replica.batches == kBatch);
  CHECK(one.memory(2).replica.batches == 3 * kBatch);
  CHECK(one.memory(8).replica.batches == 9 * kBatch);
}

TEST_CASE("whether loading is costly is known before a dataset is opened") {
  for (const char* augment : {"[]", "[horizontal_flip: 0.5]"}) {
    const JobSpec job = read_job_text(to_yaml(small_job()), "small.yaml",
                                      {{"--set", "dataset", "{name: digits, train_samples: 10, test_samples: 10}"},
                                       {"--set", "dataset.augment", augment}});
    CHECK(is_costly_to_load(job.dataset) == open_dataset(job.dataset, {.offline = true}).train->is_costly());
  }
  DatasetSpec images;
  images.format = DatasetFormat::image_tar;
  CHECK(is_costly_to_load(images));
  images = {};
  images.name = "cifar10-jpg";
  CHECK(is_costly_to_load(images));
  images.name = "cifar10";
  CHECK_FALSE(is_costly_to_load(images));
}

TEST_CASE("on GPUs there are two steps' samples, and where each replica has its own the others' sums") {
  const auto memory = [](const char* more, int replicas, bool own) {
    const Case c(small_job(more), replicas);
    Placement placement{.type = DeviceType::cuda, .replicas = replicas, .gpus = {}};
    for (int r = 0; r < replicas; ++r) placement.gpus.push_back({.name = {}, .id = own ? std::to_string(r) : "0"});
    const GpuMemory gpu = gpu_memory(c.job, c.schedule, c.model, 784, placement);
    return std::pair(gpu.samples / (784 * 4), gpu.received / c.flat());
  };
  CHECK(memory("", 1, true) == std::pair<std::int64_t, std::int64_t>(2 * 64, 0));
  CHECK(memory("", 4, false) == std::pair<std::int64_t, std::int64_t>(2 * 16, 0));
  CHECK(memory("balance: auto\n", 4, false) == std::pair<std::int64_t, std::int64_t>(2 * 64, 0));
  CHECK(memory("balance: auto\n", 2, true) ==
        std::pair<std::int64_t, std::int64_t>(2 * 64, buffers_for_any_range(8) / 2));
  CHECK(memory("reproducible: false\n", 2, true).second == 0);
}

}  // namespace dptrain

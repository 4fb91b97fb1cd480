#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "dpbench/benchmarks.h"
#include "dpbench/random_dataset.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

namespace fs = std::filesystem;

/// One iteration is a short run; what counts is the time that the trainer itself books on training, without start and
/// evaluation. One micro-batch a replica, and the config's own micro-batches: the price of more replicas being
/// possible.
void run_steps(benchmark::State& state, const fs::path& file, int replicas, bool whole_micro_batches) {
  constexpr std::int64_t kSteps = 100, kTestSamples = 64;
  std::vector<Override> overrides{{"--set", "train.steps", std::to_string(kSteps)},
                                  {"--set", "log.every", std::to_string(kSteps) + " steps"},
                                  {"--devices", "devices.count", std::to_string(replicas)},
                                  {"--set", "evaluate", "{}"},
                                  {"--set", "expect", "{}"}};
  JobSpec job = read_job(file, overrides);
  if (whole_micro_batches) {
    job.train.micro_batch_size = (job.train.global_batch_size + replicas - 1) / replicas;
  }
  const std::int64_t classes = infer_shapes(job.model).back().elements();
  DatasetPair data;
  data.train = random_dataset(std::max<std::int64_t>(4096, 2 * job.train.global_batch_size), job.model.input, classes);
  data.test = random_dataset(kTestSamples, job.model.input, classes);
  data.name = "random";
  Reporter reporter;
  std::int64_t samples = 0;
  double step_seconds = 0;
  for (auto _ : state) {
    const Summary summary = train(job, data, reporter);
    state.SetIterationTime(summary.train_seconds);
    samples += summary.samples;
    step_seconds = summary.train_seconds / static_cast<double>(summary.steps);
  }
  state.counters["samples/s"] = benchmark::Counter(static_cast<double>(samples), benchmark::Counter::kIsRate);
  state.counters["step_us"] = step_seconds * 1e6;
}

}  // namespace

void register_step_benchmarks() {
  std::vector<fs::path> configs;
  for (const auto& entry : fs::directory_iterator(DPTRAIN_CONFIGS)) {
    if (entry.path().extension() == ".yaml") configs.push_back(entry.path());
  }
  std::sort(configs.begin(), configs.end());
  for (const fs::path& file : configs) {
    for (const int replicas : {1, 2}) {
      for (const bool whole : {true, false}) {
        const std::string name = fmt::format("step/{}/replicas:{}/{}", file.stem().string(), replicas,
                                             whole ? "one_micro_batch_each" : "micro_batches_of_config");
        benchmark::RegisterBenchmark(name.c_str(), run_steps, file, replicas, whole)
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace dptrain

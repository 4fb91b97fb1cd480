#include <benchmark/benchmark.h>
#include <omp.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "dpbench/benchmarks.h"
#include "dpbench/random_dataset.h"
#include "optim/optimizer.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/checkpoint/checkpoint.h"
#include "train/cpu/cpu_replica.h"

namespace dptrain {

namespace {

namespace fs = std::filesystem;

/// A config's model on one replica, with its parameters and optimizer state.
struct Model {
  explicit Model(const std::string& config)
      : job(read_job(fs::path(DPTRAIN_CONFIGS) / (config + ".yaml"), {{"--devices", "devices.count", "1"}})),
        schedule(job, 4096, 1) {
    omp_set_num_threads(1);  // as the trainer's threads
    const std::int64_t classes = infer_shapes(job.model).back().elements();
    data.train = random_dataset(4096, job.model.input, classes);
    data.test = random_dataset(64, job.model.input, classes);
    replica = std::make_unique<CpuReplica>(Replica::Config{.job = job, .schedule = schedule, .data = data});
    names = state_names(job.train.optimizer);
    for (std::size_t k = 0; k <= names.size(); ++k) {
      buffers.push_back(Buffer::host_floats(table().floats()));
      table().initialise(k + 1, buffers.back().floats());
    }
  }
  const ParameterTable& table() const { return replica->parameters(); }
  Snapshot snapshot() const {
    std::vector<const float*> states;
    for (std::size_t k = 1; k < buffers.size(); ++k) states.push_back(buffers[k].floats());
    return take_snapshot(table(), buffers.front().floats(), names, states, {});
  }

  JobSpec job;
  RunSchedule schedule;
  DatasetPair data;
  std::unique_ptr<CpuReplica> replica;
  std::vector<std::string> names;
  std::vector<Buffer> buffers;
};

/// What training waits for.
void copy(benchmark::State& state, const std::string& config) {
  const Model model(config);
  for (auto _ : state) {
    for (const Buffer& buffer : model.buffers) {
      const Buffer other = Buffer::host(buffer.size());
      std::memcpy(other.data(), buffer.data(), buffer.size());
      benchmark::DoNotOptimize(other.data());
    }
  }
}

/// On the writing thread: the canonical layout, and the hash of the weights.
void pack(benchmark::State& state, const std::string& config) {
  const Model model(config);
  for (auto _ : state) benchmark::DoNotOptimize(model.snapshot());
}

/// Likewise: files, hashes, the disk. The processor's time is what a busy machine loses; most of the rest is waiting.
void write(benchmark::State& state, const std::string& config) {
  const Model model(config);
  const Snapshot snapshot = model.snapshot();
  const fs::path folder = fs::temp_directory_path() / ("dpbench-" + std::to_string(::getpid()));
  for (auto _ : state) {
    write_checkpoint(folder, snapshot);
    state.PauseTiming();
    fs::remove_all(folder);
    state.ResumeTiming();
  }
}

}  // namespace

void register_checkpoint_benchmarks() {
  for (const std::string config : {"mnist_mlp", "mnist_cnn"}) {
    benchmark::RegisterBenchmark(("checkpoint/copy/" + config).c_str(), copy, config);
    benchmark::RegisterBenchmark(("checkpoint/pack/" + config).c_str(), pack, config);
    benchmark::RegisterBenchmark(("checkpoint/write/" + config).c_str(), write, config);
  }
}

}  // namespace dptrain

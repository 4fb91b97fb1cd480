// Purpose: small jobs in mode local_sgd, for tests of whole runs. Thread safety: none.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "spec/reader.h"
#include "support/memory_dataset.h"
#include "train/trainer.h"

namespace dptrain::test {

inline const Shape local_input{12};

/// 12-20-3 with dropout on 75 samples in steps of 16: five steps an epoch, the last one of 11 samples.
inline JobSpec local_job(const std::string& local, const std::string& more = "",
                         const std::string& optimizer = "{name: sgd, lr: 0.1, momentum: 0.9}", int steps = 23) {
  return read_job_text(
      fmt::format(
          "name: local\nseed: 5\ndataset: {{name: digits}}\nmodel:\n  input: [12]\n  layers: [linear: 20, relu, "
          "dropout: 0.3, linear: 3]\ntrain:\n  steps: {}\n  global_batch_size: 16\n  micro_batch_size: 2\n  "
          "optimizer: {}\n{}mode: local_sgd\nlocal_sgd: {}\n",
          steps, optimizer, more, local),
      "local.yaml");
}

inline DatasetPair local_data(std::int64_t train_samples = 75) {
  return memory_pair(train_samples, 40, local_input, 3);
}

inline Summary run_local(JobSpec job, int replicas, const TrainOptions& options = {}, std::int64_t train_samples = 75) {
  job.devices.count = replicas;
  job.devices.type = DeviceType::cpu;
  Reporter silent;
  return train(job, local_data(train_samples), silent, options);
}

/// The weights at the end, flat.
inline std::vector<float> weights_of(const JobSpec& job, int replicas, std::int64_t train_samples = 75) {
  std::vector<float> weights;
  TrainOptions options;
  options.save = [&](const WeightsView& view) { weights.assign(view.flat, view.flat + view.table.floats()); };
  run_local(job, replicas, options, train_samples);
  return weights;
}

}  // namespace dptrain::test

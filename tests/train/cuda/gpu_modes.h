// Purpose: small jobs of modes async and local_sgd on GPUs, for tests on the fake of CUDA and on a real one. Thread
//   safety: none.
#pragma once

#include "train/async/async_jobs.h"
#include "train/local_sgd/local_jobs.h"

namespace dptrain::test {

/// The job on so many replicas, which share a GPU where there are fewer.
inline JobSpec on_gpus(JobSpec job, std::int64_t replicas) {
  job.devices.type = DeviceType::cuda;
  job.devices.count = replicas;
  job.devices.share = true;
  return job;
}

/// Numbers of GPUs for 4 replicas: one that all share, each its own, and in between.
inline constexpr int kMachines[] = {1, 2, 4};

/// Settings of local SGD with 4 workers.
inline const char* const kLocals[] = {
    "{workers: 4, sync_every: 4}",
    "{workers: 4, sync_every: 3, worker_state: keep, warmup_sync_steps: 2, outer_optimizer: {name: sgd, lr: 0.7, "
    "momentum: 0.9, nesterov: true}}",
    "{workers: 4, sync_every: 4, worker_state: reset, outer_optimizer: {name: adam, lr: 0.01}}"};

inline Summary run_local_on_gpus(const JobSpec& job, std::int64_t replicas, const TrainOptions& options = {}) {
  Reporter silent;
  return train(on_gpus(job, replicas), local_data(), silent, options);
}

/// The error of a run, which must be of this status.
inline std::string failure_on_gpus(const JobSpec& job, const DatasetPair& data, ExitStatus status) {
  try {
    Reporter silent;
    train(job, data, silent);
  } catch (const Error& error) {
    CHECK(error.status() == status);
    return error.what();
  }
  FAIL("no error");
  return {};
}

}  // namespace dptrain::test

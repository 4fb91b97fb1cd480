#include "train/fit.h"

#include <sched.h>

#include <algorithm>

#include "core/error.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/micro_batches.h"

namespace dptrain {

namespace {

/// Cores this process may run on; a scheduler or a container may have taken some away.
int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace

int replica_count(const JobSpec& job, std::int64_t train_samples) {
  if (job.devices.type == DeviceType::cuda) {
    throw Error(ExitStatus::usage, complaint(job.devices.at,
                                             "a GPU is asked for, but this build of dptrain has no GPU support; "
                                             "use devices: {type: cpu} or --devices N"));
  }
  const std::int64_t step_samples = std::min(job.train.global_batch_size, train_samples);
  if (!job.devices.count) {
    const auto threads = static_cast<int>(job.devices.threads_per_replica);
    const int wanted = std::max(1, usable_cores() / threads);
    return static_cast<int>(std::min<std::int64_t>(
        wanted, static_cast<std::int64_t>(cut(step_samples, micro_batch_size(job, wanted)).size())));
  }
  const auto replicas = static_cast<int>(*job.devices.count);
  const std::int64_t size = micro_batch_size(job, replicas);
  const auto micro_batches = static_cast<std::int64_t>(cut(step_samples, size).size());
  if (replicas > micro_batches) {
    throw Error(
        ExitStatus::usage,
        complaint(
            job.devices.at,
            fmt::format("{} replicas for {} micro-batches a step ({} samples in micro-batches of {}): some would have "
                        "nothing to do; use at most {} devices, a larger train.global_batch_size or a smaller "
                        "train.micro_batch_size",
                        replicas, micro_batches, step_samples, size, micro_batches)));
  }
  return replicas;
}

bool wants_loader_worker(const JobSpec& job, int replicas, std::int64_t batch_floats) {
  constexpr std::int64_t kWorthAWakeUp = 16384;  // 64 KiB; a batch below that loads faster than a thread wakes
  if (job.data.workers) return *job.data.workers > 0;
  return batch_floats >= kWorthAWakeUp && usable_cores() >= 2 * replicas * job.devices.threads_per_replica;
}

void check_data_fit(const JobSpec& job, const Shape& sample, std::int64_t classes) {
  if (sample != job.model.input) {
    throw Error(ExitStatus::usage,
                complaint(job.model.input_at, fmt::format("model.input is {}, but the dataset's samples are {}",
                                                          job.model.input.text(), sample.text())));
  }
  const Shape output = infer_shapes(job.model).back();
  if (output.rank() != 1 || output[0] != classes) {
    throw Error(ExitStatus::usage, complaint(job.model.layers.back().at,
                                             fmt::format("the last layer puts out {}, but the dataset has {} classes",
                                                         output.text(), classes)));
  }
}

}  // namespace dptrain

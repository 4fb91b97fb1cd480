#include "train/fit/fit.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "data/descriptors.h"
#include "kernels/kernels.h"
#include "spec/diagnostics.h"
#include "spec/names.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/micro_batches.h"

namespace dptrain {

namespace {

constexpr const char* kOnCores = "for CPU cores: --set devices.type=cpu --devices N";

[[noreturn]] void refuse(const SourceMark& at, const std::string& message, const std::string& hint) {
  throw Error(ExitStatus::usage, fmt::format("{}  hint: {}", complaint(at, message), hint));
}

/// What this kind of device computes in.
void check_precision(const JobSpec& job, DeviceType type, const Accelerators& machine) {
  const Precision precision = job.train.precision;
  const std::string_view name = names::precision.name_of(precision);
  if (type == DeviceType::cuda) {
    if (precision == Precision::fp16 && job.mode != Mode::sync)
      refuse(job.train.precision_at,
             fmt::format("train.precision: fp16 is for mode sync, and this is mode {}: whether gradients overflow is "
                         "decided once a step for all replicas",
                         names::mode.name_of(job.mode)),
             "use bf16, which needs no loss scale; or --mode sync");
    return;
  }
  if (precision == Precision::bf16) {
    if (const std::string missing = cpu_lacks(ElementType::bfloat16); !missing.empty())
      refuse(job.train.precision_at, fmt::format("train.precision: bf16 cannot be had: {}", missing), "use fp32");
    return;
  }
  if (precision == Precision::fp32) return;
  const std::string message = fmt::format("train.precision: {} is for GPUs, and the replicas are on the CPU", name);
  const std::string here =
      precision == Precision::fp16 && cpu_lacks(ElementType::bfloat16).empty() ? "bf16 or fp32" : "fp32";
  if (job.devices.type)
    refuse(job.train.precision_at, message, fmt::format("use {}, or devices: {{type: cuda}}", here));
  refuse(job.train.precision_at, fmt::format("{}, because no GPU can be used: {}", message, machine.missing),
         fmt::format("use {}; for a GPU: {}", here, machine.remedy));
}

/// Gradients in 16 bits where nothing is exchanged, or where the job wants bits that rounding on the way does not keep.
void check_communication(const JobSpec& job, DeviceType type) {
  if (job.train.communication == Communication::fp32) return;
  const auto refused = [&](const std::string& why, const std::string& hint) {
    refuse(job.train.communication_at,
           fmt::format("train.communication: {} {}", names::communication.name_of(job.train.communication), why), hint);
  };
  if (type == DeviceType::cpu) {
    refused("is what gradients travel in between GPUs, and the replicas are on the CPU, where none do",
            "remove it, or devices: {type: cuda}");
  }
  if (job.mode != Mode::sync) {
    refused(fmt::format("is what gradients travel in between GPUs in mode sync; in mode {} they go to the host",
                        names::mode.name_of(job.mode)),
            "remove it, or --mode sync");
  }
  if (job.reproducible) {
    refused("rounds sums on their way, so that the weights depend on the number of GPUs, and the job is reproducible",
            "set reproducible: false, or remove it");
  }
}

/// What `devices.type` says, or `auto` finds.
DeviceType device_type(const JobSpec& job, const Accelerators& machine) {
  const DeviceType type = job.devices.type.value_or(machine.usable.empty() ? DeviceType::cpu : DeviceType::cuda);
  if (type == DeviceType::cuda && machine.usable.empty()) {
    refuse(job.devices.at, fmt::format("the job asks for GPUs, and none can be used: {}", machine.missing),
           fmt::format("{}; {}", machine.remedy, kOnCores));
  }
  check_precision(job, type, machine);
  check_communication(job, type);
  return type;
}

/// More replicas than GPUs, where they do not share them.
[[noreturn]] void refuse_crowd(const JobSpec& job, std::int64_t replicas, const Accelerators& machine) {
  const std::size_t usable = machine.usable.size();
  std::string message =
      fmt::format("the job asks for {} {}, and {} {} can be used", replicas,
                  job.devices.type ? "GPUs" : "devices of type auto, which are GPUs where there are any", usable,
                  usable == 1 ? "GPU" : "GPUs");
  if (!machine.missing.empty()) message += fmt::format(" ({})", machine.missing);
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    message += fmt::format("; CUDA_VISIBLE_DEVICES is '{}'", visible);
  }
  refuse(
      job.devices.at, message,
      fmt::format("use {} or fewer; or --set devices.share=true, for several replicas on a GPU; {}", usable, kOnCores));
}

/// Local SGD with so many samples a step.
void check_workers(const JobSpec& job, std::int64_t step_samples) {
  if (job.local_sgd.workers > step_samples) {
    refuse(
        job.local_sgd.at,
        fmt::format("{} workers, but a step of this dataset has only {} samples", job.local_sgd.workers, step_samples),
        fmt::format("set local_sgd.workers to at most {}", step_samples));
  }
}

}  // namespace

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

Placement place(const JobSpec& job, std::int64_t train_samples, const Accelerators& machine) {
  Placement placement;
  placement.type = device_type(job, machine);
  const bool on_gpus = placement.type == DeviceType::cuda;
  const std::int64_t step_samples = std::min(job.train.global_batch_size, train_samples);
  if (job.mode == Mode::local_sgd) check_workers(job, step_samples);
  const auto micro_batches = [&](std::int64_t replicas) { return most_replicas(job, step_samples, replicas); };
  if (job.devices.count) {
    const std::int64_t replicas = *job.devices.count;
    if (on_gpus && !job.devices.share && replicas > static_cast<std::int64_t>(machine.usable.size())) {
      refuse_crowd(job, replicas, machine);
    }
    if (job.mode != Mode::async && replicas > micro_batches(replicas)) {
      refuse(job.devices.at,
             fmt::format("{} replicas for {} micro-batches a step ({} samples in micro-batches of {}): some would have "
                         "nothing to do",
                         replicas, micro_batches(replicas), step_samples, micro_batch_size(job, replicas)),
             fmt::format("use at most {} devices, a larger train.global_batch_size or a smaller train.micro_batch_size",
                         micro_batches(replicas)));
    }
    placement.replicas = static_cast<int>(replicas);
  } else {
    const auto threads = static_cast<int>(job.devices.threads_per_replica);
    const int wanted = on_gpus ? static_cast<int>(machine.usable.size()) : std::max(1, usable_cores() / threads);
    placement.replicas = static_cast<int>(std::min<std::int64_t>(wanted, micro_batches(wanted)));
  }
  placement.shares = {placement.replicas};
  for (int rank = 0; on_gpus && rank < placement.replicas; ++rank) {
    placement.gpus.push_back(machine.usable[static_cast<std::size_t>(rank) % machine.usable.size()]);
  }
  return placement;
}

Placement place(const JobSpec& job, std::int64_t train_samples) {
  // The driver is not asked where the job wants none of it: that takes time.
  return place(job, train_samples, job.devices.type == DeviceType::cpu ? Accelerators{} : accelerators());
}

std::int64_t most_replicas(const JobSpec& job, std::int64_t step_samples, std::int64_t replicas) {
  if (job.mode == Mode::local_sgd) return job.local_sgd.workers;  // at least one a worker
  return static_cast<std::int64_t>(cut(step_samples, micro_batch_size(job, replicas)).size());
}

int replica_count(const JobSpec& job, std::int64_t train_samples) {
  return place(job, train_samples).replicas;
}

int loader_workers(const JobSpec& job, int replicas, std::int64_t batch_floats, bool is_costly) {
  constexpr std::int64_t kWorthAWakeUp = 16384;  // 64 KiB; a batch below that loads faster than a thread wakes
  constexpr std::int64_t kMost = 8;
  if (job.data.workers) return static_cast<int>(*job.data.workers);
  const std::int64_t busy = replicas * job.devices.threads_per_replica;
  const std::int64_t spare = std::max<std::int64_t>(usable_cores() - busy, 0);
  if (is_costly) return static_cast<int>(std::min(spare / replicas, kMost));
  return batch_floats >= kWorthAWakeUp && spare >= busy ? 1 : 0;
}

bool is_costly_to_load(const DatasetSpec& dataset) {
  if (!dataset.augment.empty()) return true;
  const DatasetFormat format = dataset.format ? *dataset.format : find_descriptor(dataset.name).format;
  return format == DatasetFormat::image_folder || format == DatasetFormat::image_tar;  // decoded
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

void check_batches_fit(const JobSpec& job, const RunSchedule& schedule) {
  const std::vector<std::int64_t> sizes = schedule.batch_sizes();
  Diagnostics diagnostics;
  check_batch_norms(job.model, *std::min_element(sizes.begin(), sizes.end()), schedule.last().samples, diagnostics);
  diagnostics.throw_if_any();
}

}  // namespace dptrain

#include "train/cuda/cuda_backend.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <set>
#include <string_view>

#include "comm/nccl/nccl_group.h"
#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/cuda_kernels.h"
#include "train/cuda/cuda_reducer.h"
#include "train/cuda/cuda_replica.h"
#include "train/cuda/nccl_reducer.h"
#include "train/faults/faults.h"

namespace dptrain {

namespace {

std::vector<int> devices_of(const Placement& placement) {
  std::vector<int> devices;
  for (const AcceleratorInfo& gpu : placement.gpus) devices.push_back(gpu.device);
  return devices;
}

/// 4 MiB are enough for the links' bandwidth, and a step of more than a few dozen buckets would keep the host busy with
/// NCCL's calls.
std::int64_t bucket_floats(std::int64_t floats) {
  constexpr std::int64_t kLeast = std::int64_t{1} << 20, kMost = 32, kChunk = GradientReducer::kChunk;
  return std::max(kLeast, (floats / kMost + kChunk) / kChunk * kChunk);
}

/// "2.28.9" of NCCL's 22809.
std::string version_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

class CudaBackend final : public Backend {
 public:
  /// `processes`: null where there are no others.
  CudaBackend(const JobSpec& job, const Placement& placement, Communicator* processes)
      : job_(job), placement_(placement), processes_(processes), devices_(devices_of(placement)) {}

  ModelPlan plan(std::span<const std::int64_t> batches) override {
    cuda::use_device(devices_.front());
    const cuda::Stream stream;
    const auto kernels = make_cuda_kernels({.device = devices_.front(),
                                            .stream = stream.get(),
                                            .tf32 = job_.train.precision == Precision::tf32,
                                            .reproducible = job_.reproducible});
    return plan_model(job_, *kernels, batches);
  }
  std::unique_ptr<Replica> make_replica(const Replica::Config& config) override {
    const int device = devices_[static_cast<std::size_t>(config.rank)];
    return std::make_unique<CudaReplica>(config, device, resident(device, config.data));
  }
  Buffer host_buffer(std::size_t bytes) override { return cuda::pinned_buffer(bytes); }
  /// What processes share is not pinned: the driver stages copies from and to it.
  Buffer shared_buffer(std::size_t bytes) override {
    return processes_ == nullptr ? cuda::pinned_buffer(bytes) : processes_->share(bytes);
  }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    for (const StepPlan* plan : {&config.schedule.full(), &config.schedule.last()}) check_sums(plan->combine);
    if (processes_ == nullptr && std::set<int>(devices_.begin(), devices_.end()).size() == 1)
      return std::make_unique<CudaReducer>(config, devices_.front(), job_.reproducible);
    NcclReducer::Options options{
        .devices = devices_, .reproducible = job_.reproducible, .communication = job_.train.communication};
    options.bucket_floats = bucket_floats(config.floats);
    std::optional<double> deadline = job_.faults.step_deadline;
    if (processes_ != nullptr) {
      options.processes = processes_;
      options.placement = &placement_;
      deadline = step_deadline(job_, *processes_);
    }
    if (deadline) {
      options.step_deadline =
          std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(*deadline));
    }
    return std::make_unique<NcclReducer>(config, std::move(options));
  }

 private:
  /// The first replica on a device copies the datasets there, as far as they leave room for everything else.
  CudaReplica::Resident resident(int device, const DatasetPair& data) {
    const std::lock_guard lock(mutex_);
    const auto [found, is_new] = resident_.try_emplace(device);
    if (is_new) {
      cuda::use_device(device);
      const std::size_t room = cuda::free_memory(device) / 4;
      found->second = {ResidentImages::upload(*data.train, room), ResidentImages::upload(*data.test, room)};
    }
    return found->second;
  }

  std::mutex mutex_;
  std::map<int, CudaReplica::Resident> resident_;
  const JobSpec& job_;
  const Placement placement_;
  Communicator* const processes_;
  std::vector<int> devices_;  // by replica, as their own processes number them
};

/// Whether there are steps that are taken together: without any nothing is reduced on the GPUs.
bool steps_together(const JobSpec& job) {
  return job.mode == Mode::sync || (job.mode == Mode::local_sgd && job.local_sgd.warmup_sync_steps > 0);
}

/// Two ranks of NCCL on one GPU. Errors: usage where it would refuse them.
void check_shared_gpus(const Placement& placement, const Communicator& processes) {
  constexpr int kFirst = 23000;  // NCCL 2.30
  std::map<std::string, int> first;
  for (int replica = 0; replica < placement.replicas; ++replica) {
    const AcceleratorInfo& gpu = placement.gpus[static_cast<std::size_t>(replica)];
    const auto [found, is_new] = first.try_emplace(gpu.id, replica);
    if (is_new) continue;
    const char* allowed = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    const int version = nccl::library_version();
    if (version >= kFirst && allowed != nullptr && std::string_view(allowed) == "1") return;
    const auto name = [&](int r) {
      return fmt::format("replica {} ({})", r,
                         processes.members()[static_cast<std::size_t>(placement.process_of(r))].name());
    };
    fail(ExitStatus::usage,
         "{} and {} would be on one GPU ({}), and NCCL {} lets ranks share one {}; start one process for all replicas "
         "of a GPU, or as many processes as there are GPUs",
         name(found->second), name(replica), gpu.name, version_text(version),
         version < kFirst ? "from 2.30 on" : "where NCCL_MULTI_RANK_GPU_ENABLE=1 is in the environment");
  }
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const JobSpec& job, const Placement& placement) {
  const std::vector<int> devices = devices_of(placement);
  const std::set<int> different(devices.begin(), devices.end());
  if (steps_together(job) && different.size() > 1 && different.size() < devices.size()) {
    fail(ExitStatus::usage,
         "{} replicas on {} GPUs: replicas share a GPU only where all of them run on one; ask for {} replicas, or name "
         "one "
         "GPU in CUDA_VISIBLE_DEVICES",
         devices.size(), different.size(), different.size());
  }
  return std::make_unique<CudaBackend>(job, placement, nullptr);
}

std::unique_ptr<Backend> make_cuda_backend(const JobSpec& job, const Placement& placement, Communicator& processes) {
  if (steps_together(job)) check_shared_gpus(placement, processes);
  return std::make_unique<CudaBackend>(job, placement, &processes);
}

std::vector<std::pair<std::string, std::string>> cuda_backend_basis() {
  std::vector<std::pair<std::string, std::string>> basis = cuda_kernels_basis();
  basis.emplace_back("NCCL", std::to_string(nccl::library_version()));
  return basis;
}

}  // namespace dptrain

#include "train/cuda/cuda_backend.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <set>

#include "comm/nccl/nccl_group.h"
#include "core/error.h"
#include "device/cuda/runtime.h"
#include "kernels/cuda/cuda_kernels.h"
#include "train/cuda/cuda_reducer.h"
#include "train/cuda/cuda_replica.h"
#include "train/cuda/nccl_reducer.h"

namespace dptrain {

namespace {

class CudaBackend final : public Backend {
 public:
  CudaBackend(const JobSpec& job, std::vector<int> devices, bool one_device)
      : job_(job), devices_(std::move(devices)), one_device_(one_device) {}

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
  Buffer shared_buffer(std::size_t bytes) override { return cuda::pinned_buffer(bytes); }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    for (const StepPlan* plan : {&config.schedule.full(), &config.schedule.last()}) check_sums(plan->combine);
    if (one_device_) return std::make_unique<CudaReducer>(config, devices_.front());
    NcclReducer::Options options{
        .devices = devices_, .reproducible = job_.reproducible, .communication = job_.train.communication};
    if (job_.faults.step_deadline) {
      options.step_deadline = std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::chrono::duration<double>(*job_.faults.step_deadline));
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
  std::vector<int> devices_;  // by replica
  bool one_device_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const JobSpec& job, const Placement& placement) {
  std::vector<int> devices;
  for (const AcceleratorInfo& gpu : placement.gpus) devices.push_back(gpu.device);
  const std::set<int> different(devices.begin(), devices.end());
  // Without steps that are taken together nothing is reduced on the GPUs.
  const bool together = job.mode == Mode::sync || (job.mode == Mode::local_sgd && job.local_sgd.warmup_sync_steps > 0);
  if (together && different.size() > 1 && different.size() < devices.size()) {
    fail(ExitStatus::usage,
         "{} replicas on {} GPUs: replicas share a GPU only where all of them run on one; ask for {} replicas, or name "
         "one "
         "GPU in CUDA_VISIBLE_DEVICES",
         devices.size(), different.size(), different.size());
  }
  return std::make_unique<CudaBackend>(job, std::move(devices), different.size() == 1);
}

std::vector<std::pair<std::string, std::string>> cuda_backend_basis() {
  std::vector<std::pair<std::string, std::string>> basis = cuda_kernels_basis();
  basis.emplace_back("NCCL", std::to_string(nccl::library_version()));
  return basis;
}

}  // namespace dptrain

#include <memory>

#include "train/backend.h"
#include "train/cpu/cpu_reducer.h"
#include "train/cpu/cpu_replica.h"
#include "train/cpu/host_gradients.h"

namespace dptrain {

namespace {

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const JobSpec& job) : job_(job) {}

  ModelPlan plan(std::span<const std::int64_t> batches) override {
    return plan_model(job_, *make_cpu_kernels(), batches);
  }
  std::unique_ptr<Replica> make_replica(const Replica::Config& config) override {
    return std::make_unique<CpuReplica>(config);
  }
  Buffer host_buffer(std::size_t bytes) override { return Buffer::host(bytes); }
  Buffer shared_buffer(std::size_t bytes) override { return Buffer::host(bytes); }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    return std::make_unique<CpuReducer>(config.group, config.floats, config.state_buffers, config.clip_norm,
                                        config.plan);
  }

 private:
  const JobSpec& job_;
};

/// Gradients, weights and the optimizer's state lie in memory that the processes of a host share.
class SharedCpuBackend final : public CpuBackend {
 public:
  SharedCpuBackend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule, Communicator& processes)
      : CpuBackend(job), gradients_(placement, schedule, processes) {}

  std::unique_ptr<Replica> make_replica(const Replica::Config& config) override {
    Replica::Config shared = config;
    shared.gradient_memory = [this, rank = config.rank](int k, std::int64_t floats) {
      return gradients_.buffer(rank, k, floats);
    };
    return CpuBackend::make_replica(shared);
  }
  Buffer shared_buffer(std::size_t bytes) override { return gradients_.processes().share(bytes); }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    return std::make_unique<CpuReducer>(config.group, config.floats, config.state_buffers, config.clip_norm,
                                        config.plan, &gradients_);
  }

 private:
  HostGradients gradients_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job) {
  return std::make_unique<CpuBackend>(job);
}

std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                          Communicator& processes) {
  return std::make_unique<SharedCpuBackend>(job, placement, schedule, processes);
}

}  // namespace dptrain

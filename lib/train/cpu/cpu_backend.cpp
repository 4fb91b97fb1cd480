#include "train/backend.h"
#include "train/cpu/cpu_reducer.h"
#include "train/cpu/cpu_replica.h"

namespace dptrain {

namespace {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const JobSpec& job) : job_(job) {}

  ModelPlan plan(std::span<const std::int64_t> batches) override {
    return plan_model(job_, *make_cpu_kernels(), batches);
  }
  std::unique_ptr<Replica> make_replica(const Replica::Config& config) override {
    return std::make_unique<CpuReplica>(config);
  }
  Buffer host_buffer(std::size_t bytes) override { return Buffer::host(bytes); }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    return std::make_unique<CpuReducer>(config.group, config.floats, config.state_buffers, config.clip_norm,
                                        config.plan);
  }

 private:
  const JobSpec& job_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job) {
  return std::make_unique<CpuBackend>(job);
}

}  // namespace dptrain

#include "train/backend.h"
#include "train/cpu/cpu_reducer.h"
#include "train/cpu/cpu_replica.h"

namespace dptrain {

namespace {

class CpuBackend final : public Backend {
 public:
  std::unique_ptr<Replica> make_replica(const Replica::Config& config) override {
    return std::make_unique<CpuReplica>(config);
  }
  std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) override {
    return std::make_unique<CpuReducer>(config.group, config.floats, config.state_buffers, config.clip_norm);
  }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() {
  return std::make_unique<CpuBackend>();
}

}  // namespace dptrain

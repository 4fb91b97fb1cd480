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
  std::unique_ptr<GradientReducer> make_reducer(LocalGroup& group, std::int64_t floats, int state_buffers,
                                                std::optional<double> clip_norm) override {
    return std::make_unique<CpuReducer>(group, floats, state_buffers, clip_norm);
  }
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend() {
  return std::make_unique<CpuBackend>();
}

}  // namespace dptrain

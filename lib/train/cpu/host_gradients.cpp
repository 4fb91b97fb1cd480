#include "train/cpu/host_gradients.h"

#include <algorithm>

namespace dptrain {

HostGradients::HostGradients(const Placement& placement, const RunSchedule& schedule, Communicator& processes)
    : placement_(placement), schedule_(schedule), processes_(processes), host_(placement.replicas_of_host(processes)) {}

int HostGradients::buffers(int replica) const {
  const auto of = [replica](const StepPlan& plan) { return plan.programs[static_cast<std::size_t>(replica)].buffers; };
  return std::max(of(schedule_.full()), of(schedule_.last()));
}

Buffer HostGradients::buffer(int replica, int k, std::int64_t floats) {
  constexpr std::int64_t kPage = 1024;  // floats: replicas do not write to each other's pages
  const std::int64_t room = (floats + kPage - 1) / kPage * kPage;
  const std::lock_guard lock(mutex_);
  std::int64_t before = 0, all = 0;
  for (int r = host_.first; r < host_.last; ++r) {
    if (r == replica) before = all + k;
    all += buffers(r);
  }
  if (memory_.size() == 0) memory_ = processes_.share(static_cast<std::size_t>(all * room) * sizeof(float));
  return Buffer::adopt(memory_.floats() + before * room, static_cast<std::size_t>(floats) * sizeof(float),
                       [](void*) {});
}

}  // namespace dptrain

#include "train/step_exchange.h"

#include "core/clock.h"

namespace dptrain {

StepExchange::StepExchange(LocalGroup& group, int micro_batches, std::int64_t floats, Watchdog* watchdog)
    : group_(group),
      watchdog_(watchdog),
      floats_(static_cast<std::size_t>(floats)),
      members_(static_cast<std::size_t>(group.size())) {
  for (std::vector<float>& parts : parts_) parts.resize(static_cast<std::size_t>(micro_batches) * floats_);
}

double StepExchange::meet(int rank) {
  const double start = steady_seconds();
  if (watchdog_ != nullptr) watchdog_->pause(rank);
  group_.barrier();
  if (watchdog_ != nullptr) watchdog_->resume(rank);
  ++members_[static_cast<std::size_t>(rank)].meetings;
  return steady_seconds() - start;
}

}  // namespace dptrain

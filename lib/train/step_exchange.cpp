#include "train/step_exchange.h"

#include <algorithm>
#include <cstring>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

/// Micro-batches that a process runs in a step at most.
std::size_t most_of_a_process(const Placement& placement, const RunSchedule& schedule) {
  int most = 0;
  for (const StepPlan* plan : {&schedule.full(), &schedule.last()}) {
    for (int process = 0; process < static_cast<int>(placement.shares.size()); ++process) {
      const Range replicas = placement.replicas_of(process);
      int count = 0;
      for (int r = replicas.first; r < replicas.last; ++r)
        count += micro_batches_of(plan->programs[static_cast<std::size_t>(r)]);
      most = std::max(most, count);
    }
  }
  return static_cast<std::size_t>(most);
}

}  // namespace

StepExchange::StepExchange(LocalGroup& group, Communicator& processes, const Placement& placement,
                           const RunSchedule& schedule, std::int64_t floats, Watchdog* watchdog)
    : group_(group),
      processes_(processes),
      watchdog_(watchdog),
      floats_(static_cast<std::size_t>(floats)),
      members_(static_cast<std::size_t>(placement.replicas)),
      written_(schedule.full().micro_batches.size()) {
  for (std::vector<float>& parts : parts_) parts.resize(written_.size() * floats_);
  most_ = most_of_a_process(placement, schedule);
  block_ = most_ * (sizeof(std::int32_t) + floats_ * sizeof(float));
  numbers_.resize(most_);
  mine_.resize(block_);
  all_.resize(block_ * static_cast<std::size_t>(processes.size()));
}

float* StepExchange::own(int rank, int m) {
  written_[static_cast<std::size_t>(m)] = 1;
  return part(meetings(rank), m);
}

/// One thread of each process, while its replicas wait.
void StepExchange::share(unsigned meeting) {
  const std::size_t bytes = floats_ * sizeof(float);
  std::vector<std::int32_t>& numbers = numbers_;
  std::fill(numbers.begin(), numbers.end(), -1);
  std::byte* measured = mine_.data() + most_ * sizeof(std::int32_t);
  std::size_t next = 0;
  for (std::size_t m = 0; m < written_.size(); ++m) {
    if (written_[m] == 0) continue;
    written_[m] = 0;
    DPTRAIN_CHECK(next < most_, "more than {} micro-batches of a process have been measured", most_);
    std::memcpy(measured + next * bytes, part(meeting, static_cast<int>(m)), bytes);
    numbers[next++] = static_cast<std::int32_t>(m);
  }
  std::memcpy(mine_.data(), numbers.data(), most_ * sizeof(std::int32_t));
  processes_.all_gather(mine_.data(), block_, all_.data());
  for (int process = 0; process < processes_.size(); ++process) {
    if (process == processes_.rank()) continue;
    const std::byte* block = all_.data() + static_cast<std::size_t>(process) * block_;
    std::memcpy(numbers.data(), block, most_ * sizeof(std::int32_t));
    for (std::size_t k = 0; k < most_ && numbers[k] >= 0; ++k)
      std::memcpy(part(meeting, numbers[k]), block + most_ * sizeof(std::int32_t) + k * bytes, bytes);
  }
}

double StepExchange::meet(int rank) {
  const double start = steady_seconds();
  if (watchdog_ != nullptr) watchdog_->pause(rank);
  group_.barrier([this, meeting = meetings(rank)] {
    if (processes_.size() > 1) share(meeting);
  });
  if (watchdog_ != nullptr) watchdog_->resume(rank);
  ++members_[static_cast<std::size_t>(rank)].meetings;
  return steady_seconds() - start;
}

}  // namespace dptrain

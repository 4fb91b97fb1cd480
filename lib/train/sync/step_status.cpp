#include "train/sync/step_status.h"

#include <algorithm>
#include <cstring>

#include "core/clock.h"
#include "train/run.h"

namespace dptrain {

namespace {

struct Head {
  std::int64_t stop = 0;  // the signal that asks for it
};

template <class T>
void put(std::byte* at, const T& value) {
  std::memcpy(at, &value, sizeof value);
}

template <class T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

StepStatus::StepStatus(const Placement& placement, const RunSchedule& schedule) : placement_(placement) {
  const std::size_t processes = placement.shares.size();
  std::size_t losses = 0;
  for (const StepPlan* plan : {&schedule.full(), &schedule.last()})
    for (std::size_t p = 0; p < processes; ++p)
      losses = std::max(losses, static_cast<std::size_t>(micro_batches(*plan, static_cast<int>(p)).count()));
  const int replicas = *std::max_element(placement.shares.begin(), placement.shares.end());
  losses_ = sizeof(Head) + static_cast<std::size_t>(replicas) * sizeof(Faults::Word);
  block_ = losses_ + losses * sizeof(LossSum);
  mine_.resize(block_);
  all_.resize(block_ * processes);
  stops_.resize(processes);
}

/// Those of all its replicas, which follow each other.
Range StepStatus::micro_batches(const StepPlan& plan, int process) const {
  const Range replicas = placement_.replicas_of(process);
  Range range;
  for (int r = replicas.first; r < replicas.last; ++r) {
    for (const Range& root : plan.programs[static_cast<std::size_t>(r)].roots) {
      if (range.count() == 0) range.first = root.first;
      range.last = root.last;
    }
  }
  return range;
}

double StepStatus::gather(Run& run, int rank, const StepPlan& plan) {
  if (run.processes.size() == 1) return run.reducer->gather(rank);  // which for some devices is no meeting of threads
  const double start = steady_seconds();
  meet(run, plan);
  return steady_seconds() - start;
}

void StepStatus::meet(Run& run, const StepPlan& plan) {
  if (run.processes.size() == 1) return run.group.barrier();
  run.group.barrier([&] { share(run, plan); });
}

/// By one thread of each process, in one exchange.
void StepStatus::share(Run& run, const StepPlan& plan) {
  const int self = run.processes.rank();
  put(mine_.data(), Head{run.options.stop == nullptr ? 0 : run.options.stop->load(std::memory_order_relaxed)});
  std::byte* word = mine_.data() + sizeof(Head);
  for (int r = run.here.first; r < run.here.last; ++r, word += sizeof(Faults::Word)) put(word, run.faults.word(r));
  const Range own = micro_batches(plan, self);
  std::copy_n(reinterpret_cast<const std::byte*>(run.losses.data() + own.first),
              static_cast<std::size_t>(own.count()) * sizeof(LossSum), mine_.data() + losses_);
  run.processes.all_gather(mine_.data(), block_, all_.data());
  for (int p = 0; p < run.processes.size(); ++p) {
    const std::byte* block = all_.data() + static_cast<std::size_t>(p) * block_;
    stops_[static_cast<std::size_t>(p)] = static_cast<int>(get<Head>(block).stop);
    if (p == self) continue;
    const std::byte* from = block + sizeof(Head);
    const Range replicas = placement_.replicas_of(p), range = micro_batches(plan, p);
    for (int r = replicas.first; r < replicas.last; ++r, from += sizeof(Faults::Word)) {
      const auto theirs = get<Faults::Word>(from);
      run.faults.well(r, theirs.bound, theirs.losses_are_finite);
    }
    std::memcpy(run.losses.data() + range.first, block + losses_,
                static_cast<std::size_t>(range.count()) * sizeof(LossSum));
  }
  agree_to_stop(run, stops_);
}

}  // namespace dptrain

#include "train/faults/drills.h"

#include <chrono>
#include <thread>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

Drills::Drills(const std::vector<DrillSpec>& drills, std::function<bool()> give_up) : give_up_(std::move(give_up)) {
  for (const DrillSpec& drill : drills) drills_.push_back({drill});
}

bool Drills::due(Drill& drill, DrillKind kind, int rank, std::int64_t step) const {
  if (drill.spec.kind != kind || drill.spec.replica != rank || drill.spec.at_step != step || drill.done) return false;
  return drill.done = true;  // a step that is done again goes well
}

void Drills::before(int rank, std::int64_t step) {
  for (Drill& drill : drills_) {
    if (due(drill, DrillKind::stall, rank, step)) stall(drill.spec);
    if (due(drill, DrillKind::throw_, rank, step)) fail(ExitStatus::failed, "this is a drill");
  }
}

bool Drills::poisons(int rank, std::int64_t step) {
  for (Drill& drill : drills_) {
    if (due(drill, DrillKind::nan, rank, step)) return true;
  }
  return false;
}

std::vector<DrillDone> Drills::spoilt() const {
  std::vector<DrillDone> all;
  for (const Drill& drill : drills_) {
    if (drill.done && drill.spec.kind == DrillKind::nan) all.emplace_back(drill.spec.at_step, drill.spec.replica);
  }
  return all;
}

void Drills::leave_out(DrillKind kind, const DrillDone& done) {
  for (Drill& drill : drills_) {
    if (drill.spec.kind == kind && drill.spec.at_step <= done.first && drill.spec.replica == done.second)
      drill.done = true;
  }
}

std::vector<DrillSpec> Drills::missed(std::int64_t first, std::int64_t end) const {
  std::vector<DrillSpec> all;
  for (const Drill& drill : drills_) {
    const bool reached = drill.spec.at_step >= first && drill.spec.at_step < end;
    if (reached && !drill.done && drill.spec.kind != DrillKind::slow) all.push_back(drill.spec);
  }
  return all;
}

double Drills::slowness(int rank, std::int64_t step) const {
  double factor = 1;
  for (const Drill& drill : drills_) {
    if (drill.spec.kind == DrillKind::slow && drill.spec.replica == rank && step >= drill.spec.at_step)
      factor *= drill.spec.factor;
  }
  return factor;
}

void Drills::stall(const DrillSpec& drill) const {
  constexpr std::chrono::milliseconds kLook{5};
  const double start = steady_seconds();
  while (!give_up_() && !(drill.seconds && steady_seconds() - start >= *drill.seconds)) {
    std::this_thread::sleep_for(kLook);
  }
}

void linger(double slowness, Replica::Times& times) {
  const double longer = (slowness - 1) * (times.data + times.compute + times.reduce);
  if (longer <= 0) return;
  std::this_thread::sleep_for(std::chrono::duration<double>(longer));
  times.compute += longer;
}

}  // namespace dptrain

#include "train/forecast/forecast.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "train/forecast/shared_cores.h"
#include "train/reduction_tree.h"

namespace dptrain {

namespace {

/// The part of a process: its replicas, and the micro-batches that they run.
struct Part {
  Range replicas, micro_batches;
};

/// Process `process` of `processes`, which share out `devices`.
Part part_of(int micro_batches, int devices, int processes, int process) {
  const Range replicas = share(devices, processes, process);
  return {replicas,
          {share(micro_batches, devices, replicas.first).first, share(micro_batches, devices, replicas.last - 1).last}};
}

struct Computed {
  double seconds = 0;
  int handed_over = 0;  // gradient sums, by all replicas
};

/// The replicas of one process, up to their meeting.
Computed compute(const MachineProfile& machine, const WorkCosts& costs, const StepWork& work, const Range& replicas,
                 int devices) {
  std::vector<double> seconds;
  Computed computed;
  for (int r = replicas.first; r < replicas.last; ++r) {
    const ReplicaProgram program = replica_program(work.micro_batches, share(work.micro_batches, devices, r));
    const int runs = share(work.micro_batches, devices, r).count();
    const int adds = static_cast<int>(program.instructions.size()) - runs;
    seconds.push_back(runs * (costs.load + costs.micro_batch) + adds * costs.add);
    computed.handed_over += static_cast<int>(program.roots.size());
  }
  computed.seconds = shared_cores_seconds(seconds, machine.cores);
  return computed;
}

/// A slice each for so many replicas, of `folds` additions and so much of the update.
double reduce(const MachineProfile& machine, const StepWork& work, int replicas, double folds, double update) {
  const int hands = std::min(replicas, machine.cores);
  return folds * machine.fold / hands + update * machine.update / std::min(hands, std::max(1, work.update_parts));
}

/// What a step of a process's replicas takes beyond all other parts.
double meet(const MachineProfile& machine, const WorkCosts& costs, int replicas) {
  if (replicas <= machine.together.replicas) return costs.meet;
  const auto measured = machine.meet.lower_bound(replicas);
  return measured == machine.meet.end() ? costs.meet : measured->second;
}

}  // namespace

WorkCosts MachineProfile::costs(int replicas) const {
  if (replicas <= alone.replicas || together.replicas <= alone.replicas) return alone;
  if (replicas >= together.replicas) return together;
  const double way = static_cast<double>(replicas - alone.replicas) / (together.replicas - alone.replicas);
  const auto between = [&](double WorkCosts::*part) { return alone.*part + way * (together.*part - alone.*part); };
  return {.replicas = replicas,
          .load = between(&WorkCosts::load),
          .micro_batch = between(&WorkCosts::micro_batch),
          .add = between(&WorkCosts::add),
          .meet = between(&WorkCosts::meet)};
}

Traffic traffic(int micro_batches, std::int64_t floats, int devices, int machines) {
  Traffic traffic;
  if (machines < 2) return traffic;
  std::int64_t most = 0, least = micro_batches;
  for (int p = 0; p < machines; ++p) {
    const auto roots = static_cast<std::int64_t>(
        replica_program(micro_batches, part_of(micro_batches, devices, machines, p).micro_batches).roots.size());
    traffic.sums += roots;
    most = std::max(most, roots);
    least = std::min(least, roots);
  }
  const std::int64_t bytes = floats * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t sent = most * bytes * (machines - 1) / machines,
                     received = (traffic.sums - least) * bytes / machines;
  traffic.scattered = std::max(sent, received);
  traffic.gathered = bytes * (machines - 1) / machines;
  return traffic;
}

Forecast forecast_here(const MachineProfile& machine, const StepWork& work, int replicas) {
  DPTRAIN_CHECK(replicas > 0, "{} replicas", replicas);
  const WorkCosts costs = machine.costs(replicas);
  const Computed computed = compute(machine, costs, work, {0, replicas}, replicas);
  const double crowding = replicas > machine.cores ? machine.crowding : 1;
  return {.devices = replicas,
          .machines = 1,
          .shares_cores = replicas > machine.cores,
          .idle = std::max(0, replicas - work.micro_batches),
          .most_micro_batches = share(work.micro_batches, replicas, 0).count(),
          .compute = crowding * computed.seconds,
          .reduce = crowding * reduce(machine, work, replicas, computed.handed_over - 1, 1),
          .meet = meet(machine, costs, replicas),
          .link = 0,
          .traffic = {}};
}

Forecast forecast_linked(const MachineProfile& machine, const StepWork& work, const Link& link, int devices) {
  const int machines = (devices + machine.cores - 1) / machine.cores;
  if (machines == 1) return forecast_here(machine, work, devices);
  Forecast forecast{.devices = devices,
                    .machines = machines,
                    .idle = std::max(0, devices - work.micro_batches),
                    .most_micro_batches = share(work.micro_batches, devices, 0).count(),
                    .traffic = traffic(work.micro_batches, work.floats, devices, machines)};
  // Those of the first process are never fewer than another's.
  const Part first = part_of(work.micro_batches, devices, machines, 0);
  const int replicas = first.replicas.count();
  const WorkCosts costs = machine.costs(replicas);
  double folds = 0;
  for (int p = 0; p < machines; ++p) {
    const Part part = part_of(work.micro_batches, devices, machines, p);
    if (part.micro_batches.count() == 0) break;  // nor have those that follow
    const Computed computed = compute(machine, costs, work, part.replicas, devices);
    const auto roots = replica_program(work.micro_batches, part.micro_batches).roots.size();
    forecast.compute = std::max(forecast.compute, computed.seconds);
    folds = std::max(folds, computed.handed_over - static_cast<double>(roots));
  }
  folds += static_cast<double>(forecast.traffic.sums - 1) / machines;
  forecast.reduce = reduce(machine, work, replicas, folds, 1);
  forecast.meet = meet(machine, costs, replicas);
  forecast.link = exchange_seconds(link, machines, forecast.traffic.scattered) +
                  exchange_seconds(link, machines, forecast.traffic.gathered);
  return forecast;
}

Knee find_knee(std::span<const Forecast> rows) {
  for (std::size_t k = 1; k < rows.size(); ++k) {
    const double speed_up = rows[k - 1].seconds() / rows[k].seconds();
    const double more = static_cast<double>(rows[k].devices) / rows[k - 1].devices - 1;
    if (speed_up < 1 + kWorthwhile * more) return {rows[k - 1].devices, rows[k].devices, speed_up};
  }
  return {.devices = rows.back().devices};
}

}  // namespace dptrain

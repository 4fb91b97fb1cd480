// Purpose: how long a synchronous step takes on so many devices, worked out from what its parts take on this machine.
//   The parts are those of train/sync and train/cpu: each replica's micro-batches and own additions, one after the
//   other; the meeting at which all have their gradient sums; the rest of the tree and the update, a slice each; the
//   meeting after it. Across machines there is one process a machine, which sums its own replicas' part of the tree
//   first; then slices go to all, are summed in tree order, and the sums are gathered by all, each of which updates its
//   own copy. Nothing of that overlaps.
// Thread safety: values, pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "train/forecast/link.h"
#include "train/micro_batches.h"

namespace dptrain {

/// What a replica's parts of a step take, in seconds, where so many of them work at once.
struct WorkCosts {
  int replicas = 1;
  double load = 0;         ///< waiting for the samples of a micro-batch
  double micro_batch = 0;  ///< forward and backward of one
  double add = 0;          ///< adding one of its gradient sums to another
  double meet = 0;         ///< what a step takes beyond all other parts: its meetings, and waiting for the slowest
};

/// One machine, as far as a job is concerned; train/forecast/profile.h measures it.
struct MachineProfile {
  int cores = 1;              ///< replicas that it runs at once: its cores over the job's threads a replica
  WorkCosts alone, together;  ///< of one replica; of as many as the cores, or as the job can have where those are fewer
  double update = 0;          ///< seconds of one core: the update of all parameters
  double fold = 0;            ///< likewise: adding one more gradient sum on the way there
  double crowding = 1;        ///< where replicas share cores: how many times as long the same work keeps a core busy
  std::map<int, double>
      meet;  ///< by replicas, where they are more than `together` has: what a step takes beyond all other parts

  /// Between one replica and all of them, in proportion.
  WorkCosts costs(int replicas) const;
};

/// A full step of a job.
struct StepWork {
  std::int64_t samples = 0;
  int micro_batches = 0;
  std::int64_t floats = 0;  ///< of a gradient sum
  int update_parts = 0;     ///< into how many the update can be divided at most
};

/// What the machines exchange.
struct Traffic {
  std::int64_t sums = 0;  ///< gradient sums that machines hand over, together; one each where all is a power of two
  std::int64_t scattered = 0;  ///< bytes of the one that sends or receives most, in the exchange of slices
  std::int64_t gathered = 0;   ///< likewise where the sums are gathered
  std::int64_t bytes() const { return scattered + gathered; }
};
/// For `devices`, shared out over the machines as micro-batches are over replicas.
Traffic traffic(int micro_batches, std::int64_t floats, int devices, int machines);

struct Forecast {
  int devices = 1, machines = 1;
  bool shares_cores = false;                           ///< more replicas than cores, on one machine
  int idle = 0;                                        ///< devices without a micro-batch
  int most_micro_batches = 0;                          ///< of one device
  double compute = 0, reduce = 0, meet = 0, link = 0;  ///< seconds, one after the other
  Traffic traffic;
  double seconds() const { return compute + reduce + meet + link; }
};

/// All replicas on one machine, sharing its cores where there are more of them.
Forecast forecast_here(const MachineProfile& machine, const StepWork& work, int replicas);
/// On as few machines of this kind as give each device a core of its own.
Forecast forecast_linked(const MachineProfile& machine, const StepWork& work, const Link& link, int devices);

/// Beyond how many devices more do not pay.
struct Knee {
  int devices = 0;
  int next = 0;         ///< the count that does not pay; 0: all that were asked for do
  double speed_up = 0;  ///< from `devices` to `next`
};
/// The share of what additional devices could give that makes them worth having.
inline constexpr double kWorthwhile = 0.5;
/// The last count before the first that makes a step less than 1 + kWorthwhile (next / devices - 1) times as fast as
/// the one before it.
/// `rows` are not empty, in ascending order of devices, a core for each.
Knee find_knee(std::span<const Forecast> rows);

}  // namespace dptrain

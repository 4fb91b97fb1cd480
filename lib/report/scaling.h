// Purpose: what `dptrain plan` forecasts, as a table for people and as JSON with keys that scripts rely on.
// Thread safety: pure functions. Invariants: as report/json.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// One number of devices.
struct ScalingRow {
  std::int64_t devices = 1, machines = 1;
  bool shares_cores = false;                           ///< they are on this machine, and more than its cores
  std::int64_t idle = 0;                               ///< devices without a micro-batch
  std::int64_t micro_batches = 0;                      ///< a step, of the device that has most
  double compute = 0, reduce = 0, meet = 0, link = 0;  ///< seconds of a step, one after the other
  std::int64_t memory_bytes = 0;                       ///< of a process: one a machine
  std::int64_t sent_bytes = 0;                         ///< a step, by the process that sends or receives most
  double measured_seconds = not_known;                 ///< of a step

  double seconds() const { return compute + reduce + meet + link; }
  /// Of the forecast, as a part of what was measured.
  double error() const { return seconds() / measured_seconds - 1; }
};

struct Scaling {
  std::string job;                                              ///< its name
  std::int64_t parameters = 0, samples = 0, micro_batches = 0;  ///< of a full step
  std::int64_t cores = 0;                                       ///< replicas that this machine runs at once
  std::string link;                                             ///< as a text
  double link_bytes_per_second = 0, link_latency = 0;
  /// Of the profile, in seconds: a micro-batch alone and with `together` of them at once, an addition of a replica's
  /// own gradient sums, the update of all parameters by one core.
  std::int64_t together = 1, rounds = 0;
  double micro_batch_alone = 0, micro_batch_together = 0, add = 0, update = 0;
  double lost = 0;        ///< the share of the time that other work on the machine took meanwhile
  double one_device = 0;  ///< seconds of a step
  std::vector<ScalingRow> rows;
  std::int64_t knee = 0;       ///< the number beyond which more devices do not pay
  std::int64_t knee_next = 0;  ///< the first that does not; 0: none that was asked for
  double knee_speed_up = 0, worthwhile = 0;
  bool measured = false;

  double samples_per_second(const ScalingRow& row) const { return static_cast<double>(samples) / row.seconds(); }
  double speed_up(const ScalingRow& row) const { return one_device / row.seconds(); }
  double efficiency(const ScalingRow& row) const { return speed_up(row) / static_cast<double>(row.devices); }
};

/// The profile, what is assumed, one line a row under a heading, and the knee.
std::vector<std::string> scaling_lines(const Scaling& scaling);
std::string scaling_json(const Scaling& scaling);

}  // namespace dptrain

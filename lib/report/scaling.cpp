#include "report/scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/process.h"
#include "report/lines.h"

namespace dptrain {

namespace {

using Json = nlohmann::ordered_json;

std::string time_text(double seconds) {
  if (std::isnan(seconds)) return "-";
  if (seconds < 1e-3) return fmt::format("{:.3g} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.3g} ms", seconds * 1e3);
  return fmt::format("{:.3g} s", seconds);
}

std::string bytes_text(std::int64_t bytes) {
  return bytes < 100'000 ? fmt::format("{:.1f} kB", static_cast<double>(bytes) / 1e3)
                         : fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

std::string plural(std::int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", grouped(count), count == 1 ? one : many);
}

std::string profile_line(const Scaling& s) {
  std::string line = fmt::format("this machine, {}: a micro-batch takes {}", plural(s.cores, "core", "cores"),
                                 time_text(s.micro_batch_alone));
  if (s.together > 1) line += fmt::format(", {} with {} at once", time_text(s.micro_batch_together), s.together);
  if (s.add > 0) line += fmt::format(", an addition {}", time_text(s.add));
  return line + fmt::format(", an update {} (median of {})", time_text(s.update), plural(s.rounds, "round", "rounds"));
}

std::string assumption_line(const Scaling& s) {
  return fmt::format(
      "more than {} are assumed to be on machines like this one, {} and one process on each, with nothing else to do, "
      "joined by {}; nothing overlaps",
      plural(s.cores, "device", "devices"), s.cores, s.link);
}

std::string knee_line(const Scaling& s) {
  if (s.knee_next == 0) return fmt::format("knee: none up to {}", plural(s.knee, "device", "devices"));
  const double wanted = 1 + s.worthwhile * (static_cast<double>(s.knee_next) / static_cast<double>(s.knee) - 1);
  return fmt::format(
      "knee: {}; {} would make a step {:.2f} times as fast, and below {:.2f}, {:g}% of what they could add, they do "
      "not pay",
      plural(s.knee, "device", "devices"), grouped(s.knee_next), s.knee_speed_up, wanted, 100 * s.worthwhile);
}

std::string notes_of(const Scaling& s, const ScalingRow& row) {
  std::string notes;
  if (row.shares_cores) notes += fmt::format("  sharing {}", plural(s.cores, "core", "cores"));
  if (row.idle > 0) notes += fmt::format("  {} idle", grouped(row.idle));
  return notes;
}

/// What a job that is given more devices than it has work for is told.
std::string idle_line(const Scaling& s) {
  return fmt::format(
      "a step has {}, and a run with more devices than that is refused: a smaller train.micro_batch_size or a larger "
      "train.global_batch_size makes more",
      plural(s.micro_batches, "micro-batch", "micro-batches"));
}

/// Other work on the machine makes all of it uncertain.
std::string busy_line(const Scaling& s) {
  return fmt::format(
      "warning: other work on this machine took {:.0f}% of the time of this: on a quiet one it is worth more",
      100 * s.lost);
}

}  // namespace

std::vector<std::string> scaling_lines(const Scaling& s) {
  constexpr double kMuchLost = 0.05;
  constexpr const char* kRow = "{:>7}{:>10}{:>15}{:>11}{:>13}{:>10}{:>12}{:>11}{:>13}";
  std::vector<std::string> lines{fmt::format("{}, {} parameters, a step of {}", s.job, grouped(s.parameters),
                                             cut_text(s.samples, s.micro_batches)),
                                 profile_line(s), assumption_line(s)};
  std::string heading = fmt::format(kRow, "devices", "machines", "micro-batches", "step", "samples/s", "speed-up",
                                    "efficiency", "memory", "sent a step");
  if (s.measured) heading += fmt::format("{:>11}{:>8}", "measured", "error");
  lines.push_back(heading);
  bool idle = false;
  for (const ScalingRow& row : s.rows) {
    std::string line =
        fmt::format(kRow, grouped(row.devices), grouped(row.machines), row.micro_batches, time_text(row.seconds()),
                    grouped(std::llround(s.samples_per_second(row))), fmt::format("{:.2f}", s.speed_up(row)),
                    fmt::format("{:.0f}%", 100 * s.efficiency(row)), bytes_text(row.memory_bytes),
                    row.sent_bytes == 0 ? "-" : bytes_text(row.sent_bytes));
    if (s.measured) {
      const bool known = !std::isnan(row.measured_seconds);
      line += fmt::format("{:>11}{:>8}", time_text(row.measured_seconds),
                          known ? fmt::format("{:+.1f}%", 100 * row.error()) : "-");
    }
    lines.push_back(line + notes_of(s, row));
    idle = idle || row.idle > 0;
  }
  lines.push_back(knee_line(s));
  if (idle) lines.push_back(idle_line(s));
  if (s.lost > kMuchLost) lines.push_back(busy_line(s));
  return lines;
}

std::string scaling_json(const Scaling& s) {
  Json rows = Json::array();
  for (const ScalingRow& row : s.rows) {
    rows.push_back(
        {{"devices", row.devices},
         {"machines", row.machines},
         {"shares_cores", row.shares_cores},
         {"idle", row.idle},
         {"micro_batches", row.micro_batches},
         {"step_seconds", row.seconds()},
         {"parts", {{"compute", row.compute}, {"reduce", row.reduce}, {"meet", row.meet}, {"link", row.link}}},
         {"samples_per_second", s.samples_per_second(row)},
         {"speed_up", s.speed_up(row)},
         {"efficiency", s.efficiency(row)},
         {"memory_bytes", row.memory_bytes},
         {"sent_bytes", row.sent_bytes},
         {"measured_step_seconds", row.measured_seconds},
         {"error", row.error()}});
  }
  const Json all{{"job", s.job},
                 {"parameters", s.parameters},
                 {"samples", s.samples},
                 {"micro_batches", s.micro_batches},
                 {"cores", s.cores},
                 {"link", {{"bytes_per_second", s.link_bytes_per_second}, {"latency_seconds", s.link_latency}}},
                 {"profile",
                  {{"rounds", s.rounds},
                   {"lost", s.lost},
                   {"together", s.together},
                   {"micro_batch_seconds", s.micro_batch_alone},
                   {"micro_batch_seconds_together", s.micro_batch_together},
                   {"add_seconds", s.add},
                   {"update_seconds", s.update}}},
                 {"rows", std::move(rows)},
                 {"knee",
                  {{"devices", s.knee},
                   {"next", s.knee_next == 0 ? Json() : Json(s.knee_next)},
                   {"speed_up", s.knee_next == 0 ? Json() : Json(s.knee_speed_up)},
                   {"worthwhile", s.worthwhile}}},
                 {"version", version()}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace dptrain

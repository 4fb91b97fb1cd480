// The blocks that say what a run does when something goes wrong, and what shall go wrong on purpose.

#include <algorithm>
#include <map>
#include <utility>

#include "spec/blocks.h"
#include "spec/names.h"
#include "spec/reader.h"
#include "spec/texts.h"

namespace dptrain {

namespace {

constexpr Bounds kFactor{0, 1, true, false};
constexpr Bounds kSlower{1, 1000, false, false};
constexpr Bounds kSeconds{0, 1e6, true, false};

DrillSpec read_drill(const Value& value) {
  DrillSpec drill;
  MapReader map(value, {.title = fmt::format("drill {}", value.path)});
  map.required("at_step", drill.at_step, integer(0, kMaxCount));
  map.required("replica", drill.replica, integer(0, kMaxCount));
  const bool known = map.required("do", drill.kind, choice(names::drill));
  double seconds = 0;
  if (map.has("seconds") && map.optional("seconds", seconds, number(kSeconds))) drill.seconds = seconds;
  map.optional("factor", drill.factor, number(kSlower));
  if (known && map.has("seconds") && drill.kind != DrillKind::stall)
    map.error("seconds", "is for do: stall", "remove it");
  if (known && map.has("factor") && drill.kind != DrillKind::slow) map.error("factor", "is for do: slow", "remove it");
  map.finish();
  drill.at = value.block_at.outlive();
  return drill;
}

}  // namespace

FaultsSpec read_faults(const Value& block) {
  FaultsSpec faults;
  MapReader map(block, {.main = "on_nan"});
  map.optional("on_nan", faults.on_nan, choice(names::on_nan));
  map.optional("rollback_lr_factor", faults.rollback_lr_factor, number(kFactor));
  map.optional("max_rollbacks", faults.max_rollbacks, integer(1, kMaxCount));
  map.optional("max_skips", faults.max_skips, integer(1, kMaxCount));
  map.optional("on_replica_failure", faults.on_replica_failure, choice(names::on_replica_failure));
  map.optional("step_deadline", faults.step_deadline, or_keyword<double>("none", number(kSeconds)));
  faults.on_nan_at = map.at("on_nan").outlive();
  faults.on_replica_failure_at = map.at("on_replica_failure").outlive();
  map.finish();
  return faults;
}

std::vector<DrillSpec> read_drills(const Value& list) {
  std::vector<DrillSpec> drills;
  if (list.node.kind != Node::Kind::sequence) {
    list.expected("a list of drills", "write one '- {at_step: 120, replica: 1, do: throw}' a line");
    return drills;
  }
  for (std::size_t i = 0; i < list.node.items.size(); ++i) {
    const Node& node = list.node.items[i];
    drills.push_back(read_drill(Value{node, fmt::format("{}.{}", list.path, i), node.at, list.diagnostics}));
  }
  return drills;
}

std::vector<std::int64_t> nan_drill_steps(const JobSpec& job) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> times;  // by step and replica
  std::map<std::int64_t, std::int64_t> most;                            // by step
  for (const DrillSpec& drill : job.drills) {
    if (drill.kind != DrillKind::nan) continue;
    const std::int64_t count = ++times[{drill.at_step, drill.replica}];
    most[drill.at_step] = std::max(most[drill.at_step], count);
  }
  std::vector<std::int64_t> steps;
  for (const auto& [step, count] : most) steps.insert(steps.end(), static_cast<std::size_t>(count), step);
  return steps;
}

std::string faults_text(const JobSpec& job) {
  const FaultsSpec& faults = job.faults;
  std::string out = fmt::format(
      "faults:\n  on_nan: {}\n  rollback_lr_factor: {}\n  max_rollbacks: {}\n  max_skips: {}\n",
      names::on_nan.name_of(faults.on_nan), faults.rollback_lr_factor, faults.max_rollbacks, faults.max_skips);
  out +=
      fmt::format("  on_replica_failure: {}\n  step_deadline: {}\n",
                  names::on_replica_failure.name_of(faults.on_replica_failure), value_or(faults.step_deadline, "none"));
  out += fmt::format("balance: {}\ndrills:{}\n", names::balance.name_of(job.balance), job.drills.empty() ? " []" : "");
  for (const DrillSpec& drill : job.drills) {
    out += fmt::format("  - {{at_step: {}, replica: {}, do: {}{}{}}}\n", drill.at_step, drill.replica,
                       names::drill.name_of(drill.kind),
                       drill.seconds ? fmt::format(", seconds: {}", *drill.seconds) : std::string(),
                       drill.kind == DrillKind::slow ? fmt::format(", factor: {}", drill.factor) : std::string());
  }
  return out;
}

std::string decisive_faults(const JobSpec& job) {
  const OnNan on_nan = job.faults.on_nan;
  if (on_nan == OnNan::stop) return "";
  std::string out = fmt::format("faults: {{on_nan: {}", names::on_nan.name_of(on_nan));
  if (on_nan == OnNan::rollback) {
    out += fmt::format(", rollback_lr_factor: {}}}\ncheckpoint: {{every: {}", job.faults.rollback_lr_factor,
                       interval_or(job.checkpoint.every, "end"));  // how far it goes back
  }
  out += "}\n";
  const std::vector<std::int64_t> steps = nan_drill_steps(job);
  if (!steps.empty()) out += "drills:\n";
  for (const std::int64_t step : steps) out += fmt::format("  - {{at_step: {}, do: nan}}\n", step);
  return out;
}

}  // namespace dptrain

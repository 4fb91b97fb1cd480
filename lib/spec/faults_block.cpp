// The blocks that say what a run does when something goes wrong, and what shall go wrong on purpose.

#include "spec/blocks.h"
#include "spec/names.h"

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

}  // namespace dptrain

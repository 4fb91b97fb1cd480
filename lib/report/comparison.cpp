#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/process.h"
#include "core/statistics.h"
#include "report/lines.h"

namespace dptrain {

namespace {

using Json = nlohmann::ordered_json;

/// The runs of one mode.
struct ModeRuns {
  std::vector<const ComparedRun*> all;

  ModeRuns(const Comparison& comparison, const std::string& mode) {
    for (const ComparedRun& run : comparison.runs) {
      if (run.mode == mode) all.push_back(&run);
    }
  }
  std::int64_t reached() const {
    return std::count_if(all.begin(), all.end(), [](auto* run) { return run->reached; });
  }
  std::int64_t failed() const {
    return std::count_if(all.begin(), all.end(), [](auto* run) { return run->failed(); });
  }

  /// Of the runs that reached the target, or of all that did not fail.
  template <class Value>
  Spread spread(bool reached_only, Value value) const {
    std::vector<double> values;
    for (const ComparedRun* run : all) {
      if (run->reached || (!reached_only && !run->failed())) values.push_back(static_cast<double>(value(*run)));
    }
    std::erase_if(values, [](double v) { return std::isnan(v); });
    return spread_of(std::move(values));
  }
  Spread seconds() const {
    return spread(true, [](const ComparedRun& run) { return run.at.train_seconds; });
  }
  Spread steps() const {
    return spread(true, [](const ComparedRun& run) { return run.at.step; });
  }
  Spread epochs() const {
    return spread(true, [](const ComparedRun& run) { return run.at.epoch; });
  }
  Spread speed() const {
    return spread(false, [](const ComparedRun& run) { return run.samples_per_second; });
  }
  Spread accuracy() const {
    return spread(false, [](const ComparedRun& run) { return that_counts(run.at).accuracy; });
  }
};

std::string text_of(const Spread& spread, int digits) {
  if (std::isnan(spread.median)) return "-";
  return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", spread.median, digits, spread.least, digits, spread.most, digits);
}

std::string steps_text(const Spread& spread) {
  if (std::isnan(spread.median)) return "-";
  return fmt::format("{} ({}-{})", grouped(std::llround(spread.median)), grouped(std::llround(spread.least)),
                     grouped(std::llround(spread.most)));
}

Json json_of(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

std::string seeds_text(const Comparison& comparison) {
  const std::uint64_t last = comparison.first_seed + static_cast<std::uint64_t>(comparison.seeds) - 1;
  return comparison.seeds == 1 ? fmt::format("seed {}", comparison.first_seed)
                               : fmt::format("seeds {} to {}", comparison.first_seed, last);
}

/// "2 replicas", or how many each mode has.
std::string replicas_text(const Comparison& comparison) {
  const auto text = [](std::int64_t count) { return fmt::format("{} replica{}", count, count == 1 ? "" : "s"); };
  std::string each;
  bool same = true;
  for (const ComparedMode& mode : comparison.modes) {
    same = same && mode.replicas == comparison.modes.front().replicas;
    each += fmt::format("{}{}: {}", each.empty() ? "" : ", ", mode.name, text(mode.replicas));
  }
  return same && !comparison.modes.empty() ? text(comparison.modes.front().replicas) : each;
}

/// For each mode but the first the settings of `train` that are others than in that: what was set for the mode.
std::vector<std::string> difference_lines(const Comparison& comparison) {
  std::vector<std::string> lines;
  if (comparison.modes.empty()) return lines;
  const ComparedMode& first = comparison.modes.front();
  const std::set<std::pair<std::string, std::string>> common(first.settings.begin(), first.settings.end());
  for (const ComparedMode& mode : comparison.modes) {
    std::string line;
    for (const auto& setting : mode.settings) {
      if (!setting.first.starts_with("train.") || common.contains(setting)) continue;
      line += fmt::format("{} {}={}", line.empty() ? "" : ",", setting.first, setting.second);
    }
    if (!line.empty()) lines.push_back(fmt::format("{} with{}", mode.name, line));
  }
  return lines;
}

Json value_of(const std::string& yaml) {
  Json value = Json::parse(yaml, nullptr, false);
  return value.is_discarded() ? Json(yaml) : value;
}

Json settings_json(const ComparedMode& mode) {
  Json settings = Json::object();
  for (const auto& [path, value] : mode.settings) settings[path] = value_of(value);
  return settings;
}

Json run_json(const ComparedRun& run) {
  const double accuracy = that_counts(run.at).accuracy;
  const bool evaluated = !std::isnan(accuracy);
  return {{"seed", run.seed},
          {"reached", run.reached},
          {"step", evaluated ? Json(run.at.step) : Json()},
          {"epoch", evaluated ? Json(run.at.epoch) : Json()},
          {"train_seconds", run.at.train_seconds},
          {"test_accuracy", accuracy},
          {"samples_per_second", run.samples_per_second},
          {"parts", run.parts},
          {"weights_hash", run.weights_hash},
          {"folder", run.folder},
          {"exit_status", run.exit_status},
          {"error", run.error.empty() ? Json() : Json(run.error)}};
}

}  // namespace

bool Comparison::complete() const {
  return !modes.empty() && static_cast<std::int64_t>(runs.size()) == seeds * static_cast<std::int64_t>(modes.size());
}

bool Comparison::reached() const {
  return complete() && std::all_of(runs.begin(), runs.end(), [](const ComparedRun& run) { return run.reached; });
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return {median(values), *least, *most};
}

std::string outcome_text(const ComparedRun& run) {
  if (run.failed()) return fmt::format("failed with status {}: {}", run.exit_status, run.error);
  return fmt::format("{} after {:.2f} s of training, {} steps, {:.2f} epochs{}{}",
                     accuracy_text(that_counts(run.at).accuracy), run.at.train_seconds, grouped(run.at.step),
                     run.at.epoch, run.parts > 1 ? fmt::format(", in {} parts", run.parts) : std::string(),
                     run.reached ? "" : ": missed");
}

std::vector<std::string> comparison_lines(const Comparison& comparison) {
  constexpr const char* kRow = "{:<11}{:>7}{:>23}{:>21}{:>18}{:>11}{:>10}";
  std::vector<std::string> lines{
      fmt::format("{}, {}, {}", comparison.job, replicas_text(comparison), seeds_text(comparison)),
      fmt::format(kRow, "mode", "reached", fmt::format("seconds to {:g}%", 100 * comparison.target), "steps", "epochs",
                  "samples/s", "accuracy")};
  for (const ComparedMode& mode : comparison.modes) {
    const ModeRuns runs(comparison, mode.name);
    const double rate = runs.speed().median;
    lines.push_back(fmt::format(kRow, mode.name, fmt::format("{} of {}", runs.reached(), runs.all.size()),
                                text_of(runs.seconds(), 2), steps_text(runs.steps()), text_of(runs.epochs(), 2),
                                std::isnan(rate) ? "-" : grouped(std::llround(rate)),
                                accuracy_text(runs.accuracy().median)));
  }
  const std::vector<std::string> differences = difference_lines(comparison);
  lines.insert(lines.end(), differences.begin(), differences.end());
  for (const ComparedRun& run : comparison.runs) {
    if (!run.reached) lines.push_back(fmt::format("{}, seed {}: {}", run.mode, run.seed, outcome_text(run)));
  }
  const auto wanted = comparison.seeds * static_cast<std::int64_t>(comparison.modes.size());
  if (!comparison.complete())
    lines.push_back(fmt::format("ended early: {} of {} runs", comparison.runs.size(), wanted));
  return lines;
}

std::string comparison_json(const Comparison& comparison) {
  Json modes = Json::array();
  std::set<std::int64_t> replicas;
  for (const ComparedMode& mode : comparison.modes) {
    replicas.insert(mode.replicas);
    const ModeRuns found(comparison, mode.name);
    Json runs = Json::array();
    for (const ComparedRun* run : found.all) runs.push_back(run_json(*run));
    modes.push_back({{"mode", mode.name},
                     {"replicas", mode.replicas},
                     {"settings", settings_json(mode)},
                     {"reached", found.reached()},
                     {"failed", found.failed()},
                     {"seconds_to_target", json_of(found.seconds())},
                     {"steps_to_target", json_of(found.steps())},
                     {"epochs_to_target", json_of(found.epochs())},
                     {"samples_per_second", json_of(found.speed())},
                     {"test_accuracy", json_of(found.accuracy())},
                     {"runs", std::move(runs)}});
  }
  const Json all{{"job", comparison.job},
                 {"target", comparison.target},
                 {"first_seed", comparison.first_seed},
                 {"seeds", comparison.seeds},
                 {"replicas", replicas.size() == 1 ? Json(*replicas.begin()) : Json()},
                 {"reached", comparison.reached()},
                 {"complete", comparison.complete()},
                 {"modes", std::move(modes)},
                 {"version", version()}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_comparison(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  return json.is_object() && json.contains("job") && json.contains("target") && json.contains("modes");
}

}  // namespace dptrain

#include "report/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "report/lines.h"
#include "report/process.h"

namespace dptrain {

namespace {

using Json = nlohmann::ordered_json;

/// `value` of a mode's runs, of those that reached the target or of all.
template <class Value>
Spread spread(const Comparison& comparison, const std::string& mode, bool reached_only, Value value) {
  std::vector<double> values;
  for (const ComparedRun& run : comparison.runs) {
    if (run.mode == mode && (run.reached || !reached_only)) values.push_back(value(run));
  }
  std::erase_if(values, [](double v) { return std::isnan(v); });
  return spread_of(std::move(values));
}

std::int64_t count(const Comparison& comparison, const std::string& mode, bool reached_only) {
  return std::count_if(comparison.runs.begin(), comparison.runs.end(),
                       [&](const ComparedRun& run) { return run.mode == mode && (run.reached || !reached_only); });
}

Spread seconds(const Comparison& comparison, const std::string& mode) {
  return spread(comparison, mode, true, [](const ComparedRun& run) { return run.at.train_seconds; });
}
Spread epochs(const Comparison& comparison, const std::string& mode) {
  return spread(comparison, mode, true, [](const ComparedRun& run) { return run.at.epoch; });
}
Spread speed(const Comparison& comparison, const std::string& mode) {
  return spread(comparison, mode, false, [](const ComparedRun& run) { return run.samples_per_second; });
}
Spread accuracy(const Comparison& comparison, const std::string& mode) {
  return spread(comparison, mode, false, [](const ComparedRun& run) { return run.at.test_accuracy; });
}

std::string text_of(const Spread& spread, int digits) {
  if (std::isnan(spread.median)) return "-";
  return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", spread.median, digits, spread.least, digits, spread.most, digits);
}

Json json_of(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

}  // namespace

bool Comparison::reached() const {
  return !runs.empty() && std::all_of(runs.begin(), runs.end(), [](const ComparedRun& run) { return run.reached; });
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

std::vector<std::string> comparison_lines(const Comparison& comparison) {
  std::vector<std::string> lines{fmt::format("{:<11}{:>9}{:>24}{:>22}{:>13}{:>10}", "mode", "reached",
                                             fmt::format("seconds to {:g}%", 100 * comparison.target), "epochs",
                                             "samples/s", "accuracy")};
  for (const std::string& mode : comparison.modes) {
    const double rate = speed(comparison, mode).median, reached = accuracy(comparison, mode).median;
    lines.push_back(
        fmt::format("{:<11}{:>9}{:>24}{:>22}{:>13}{:>10}", mode,
                    fmt::format("{} of {}", count(comparison, mode, true), count(comparison, mode, false)),
                    text_of(seconds(comparison, mode), 2), text_of(epochs(comparison, mode), 2),
                    std::isnan(rate) ? "-" : grouped(std::llround(rate)),
                    std::isnan(reached) ? "-" : fmt::format("{:.2f}%", std::floor(1e4 * reached + 1e-6) / 100)));
  }
  return lines;
}

std::string comparison_json(const Comparison& comparison) {
  Json modes = Json::array();
  for (const std::string& mode : comparison.modes) {
    Json runs = Json::array();
    for (const ComparedRun& run : comparison.runs) {
      if (run.mode != mode) continue;
      runs.push_back({{"seed", run.seed},
                      {"reached", run.reached},
                      {"step", run.at.step},
                      {"epoch", run.at.epoch},
                      {"train_seconds", run.at.train_seconds},
                      {"test_accuracy", run.at.test_accuracy},
                      {"samples_per_second", run.samples_per_second},
                      {"weights_hash", run.weights_hash},
                      {"folder", run.folder},
                      {"error", run.error.empty() ? Json() : Json(run.error)}});
    }
    modes.push_back({{"mode", mode},
                     {"reached", count(comparison, mode, true)},
                     {"seconds_to_target", json_of(seconds(comparison, mode))},
                     {"epochs_to_target", json_of(epochs(comparison, mode))},
                     {"samples_per_second", json_of(speed(comparison, mode))},
                     {"runs", std::move(runs)}});
  }
  const Json all{{"job", comparison.job},           {"target", comparison.target}, {"replicas", comparison.replicas},
                 {"reached", comparison.reached()}, {"modes", std::move(modes)},   {"version", version()}};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace dptrain

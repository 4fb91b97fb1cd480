// Purpose: what `dptrain compare` found, as a table for people and as JSON with keys that scripts rely on.
// Thread safety: pure functions. Invariants: as report/json.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// One of the modes that are compared.
struct ComparedMode {
  std::string name;
  std::int64_t replicas = 0;
  /// What it runs with, as paths and values of YAML: `train`, and the block of the mode's own name.
  std::vector<std::pair<std::string, std::string>> settings{};
};

/// One run of one mode that has come to an end.
struct ComparedRun {
  std::string mode;
  std::uint64_t seed = 0;
  std::string folder;
  int exit_status = 0;     ///< of its process: 0 reached, 4 missed; anything else is a run that failed
  std::string error{};     ///< that ended it; empty: none
  bool reached = false;    ///< the target, at the evaluation below
  EvalReport at{};         ///< the first evaluation at or above the target; otherwise the last one
  std::int64_t parts = 1;  ///< 2 and more: it was gone on with
  double samples_per_second = not_known;
  std::string weights_hash{};

  bool failed() const { return !error.empty(); }
};

struct Comparison {
  std::string job;  ///< its name
  double target = 0;
  std::uint64_t first_seed = 1;
  std::int64_t seeds = 0;           ///< that are asked for: the first one and those that follow it
  std::vector<ComparedMode> modes;  ///< in the order of the table
  std::vector<ComparedRun> runs{};  ///< so far

  /// Whether there is a run of every mode with every seed.
  bool complete() const;
  /// Whether it is complete and each run has reached the target.
  bool reached() const;
};

/// The middle one of some values and how far they spread; all not known where there are none.
struct Spread {
  double median = not_known, least = not_known, most = not_known;
};
Spread spread_of(std::vector<double> values);

/// What was compared; one line a mode under a heading: in how many seeds it reached the target, and after how many
/// seconds of training, steps and epochs, as medians over the seeds that did, with what speed and accuracy, as medians
/// over all that did not fail; then the settings of `train` in which a mode differs from the first, and each run that
/// did not reach the target, with the reason.
std::vector<std::string> comparison_lines(const Comparison& comparison);
/// "98.53% after 2.29 s of training, 476 steps, 1.01 epochs", or what ended it.
std::string outcome_text(const ComparedRun& run);

std::string comparison_json(const Comparison& comparison);
/// Whether `text` is what comparison_json() writes.
bool is_comparison(const std::string& text);

}  // namespace dptrain

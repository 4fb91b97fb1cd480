// Purpose: what `dptrain compare` found, as a table for people and as JSON with keys that scripts rely on.
// Thread safety: pure functions. Invariants: as report/json.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "report/records.h"

namespace dptrain {

/// One run of one mode.
struct ComparedRun {
  std::string mode;
  std::uint64_t seed = 0;
  std::string folder;
  std::string error;     ///< that ended it; empty: none
  bool reached = false;  ///< the target, at the evaluation below
  EvalReport at{};       ///< the first evaluation at or above the target; otherwise the last one
  double samples_per_second = not_known;
  std::string weights_hash{};
};

struct Comparison {
  std::string job;  ///< its name
  double target = 0;
  std::int64_t replicas = 0;
  std::vector<std::string> modes;  ///< in the order of the table
  std::vector<ComparedRun> runs;

  /// Every mode with every seed. Not so where nothing was run.
  bool reached() const;
};

/// The middle one of some values and how far they spread; all not known where there are none.
struct Spread {
  double median = not_known, least = not_known, most = not_known;
};
Spread spread_of(std::vector<double> values);

/// One line a mode under a heading: in how many seeds it reached the target, and after how many seconds of training, epochs
/// and at what speed, as medians over the seeds that did (the speed: over all).
std::vector<std::string> comparison_lines(const Comparison& comparison);
std::string comparison_json(const Comparison& comparison);

}  // namespace dptrain

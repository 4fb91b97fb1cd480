// Purpose: what the tests of `dptrain compare` share. Thread safety: none.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "apps/end_to_end.h"

namespace dptrain::test {

/// The mode's part of a comparison's object.
inline nlohmann::json mode_in(const nlohmann::json& comparison, const std::string& mode) {
  for (const nlohmann::json& each : comparison.at("modes")) {
    if (each.at("mode") == mode) return each;
  }
  throw std::runtime_error("no such mode");
}

/// `dptrain compare` of the small job, which evaluates often.
inline std::vector<std::string> compare(const std::vector<std::string>& more) {
  std::vector<std::string> all{"compare", "job.yaml", "--quiet", "--set", "evaluate.every=2 steps"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace dptrain::test

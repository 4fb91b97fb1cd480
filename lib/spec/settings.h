// Purpose: the resolved settings of a job one by one, named as `--set` takes them, for results that say what they rest
//   on.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "spec/job_spec.h"

namespace dptrain {

/// A path such as "train.optimizer.lr" and its value in a line, for people: text has no quotes.
using Setting = std::pair<std::string, std::string>;

/// Every setting in a block of the top level, such as "train", with the defaults filled in, in the order of the
/// resolved spec. Empty where there is no such block.
std::vector<Setting> settings_of(const JobSpec& job, const std::string& block);

}  // namespace dptrain

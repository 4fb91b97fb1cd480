// Purpose: what is allowed in a job and yet hardly meant. Thread safety: a pure function.
#pragma once

#include <string>
#include <vector>

#include "train/fit/fit.h"
#include "train/schedule.h"

namespace dptrain {

/// One sentence for each thing that the run should warn of before it begins.
std::vector<std::string> warnings(const JobSpec& job, const RunSchedule& schedule, const Placement& placement);

}  // namespace dptrain

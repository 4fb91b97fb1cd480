// Purpose: training to a test accuracy: what `--target` makes of a job, and whether a run has been there.
// Thread safety: pure functions.
#pragma once

#include <filesystem>

#include "report/records.h"
#include "spec/job_spec.h"

namespace dptrain {

/// The target takes the place of what the job expects. Where the job evaluates at its end alone it does so after every
/// twentieth of the run. Errors: usage where `target` is no accuracy above 0.
void aim(JobSpec& job, double target);

/// The first evaluation of a run at or above its target; where there is none, the last one.
struct Aimed {
  bool reached = false;
  EvalReport at{};         ///< nothing in it is known where there was no evaluation
  std::int64_t parts = 0;  ///< of the run
};
/// Errors: none; a run that is not there has not been anywhere.
Aimed look_back(const std::filesystem::path& run_folder, double target);

}  // namespace dptrain

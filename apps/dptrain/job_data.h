// Purpose: how the commands look at a job's data and open it. Thread safety: pure functions.
#pragma once

#include "data/open/open.h"
#include "spec/job_spec.h"

namespace dptrain {

/// The job's bounds, and news on standard error.
DataOptions data_options(const JobSpec& job, const StopRequest& stop, bool offline);

/// inspect_dataset(), for a command that a signal ends at once otherwise. Errors: its own.
DatasetInfo inspect_data(const JobSpec& job);
/// open_dataset(), likewise.
DatasetPair open_data(const JobSpec& job, bool offline, const DatasetInfo& known = {});

}  // namespace dptrain

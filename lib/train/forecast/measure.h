// Purpose: what a step of a job really takes, for a forecast to be held against. Thread safety: as train().
#pragma once

#include "data/dataset.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Seconds of a full step, as the mean over a short run of `steps` on so many replicas on the CPU; nothing is left or
/// said, evaluated or
/// saved, and drills do not happen. Errors: as train().
double measured_step_seconds(const JobSpec& job, const DatasetPair& data, int replicas, std::int64_t steps);

}  // namespace dptrain

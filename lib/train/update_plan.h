// Purpose: how the flat buffer of a model is updated under a job: once, from the parameters' roles and the optimizer.
// Thread safety: a pure function.
#pragma once

#include "nn/parameters.h"
#include "spec/job_spec.h"

namespace dptrain {

UpdatePlan update_plan(const ParameterTable& table, const TrainSpec& train);

/// Modes in which each element is updated by itself, wherever it lies: the job asks for nothing else. Errors: usage.
void check_elementwise(const JobSpec& job);

}  // namespace dptrain

// Purpose: how a run scales its losses: by its job, and where it goes on by what it had come to. Thread safety: pure
//   functions.
#pragma once

#include <optional>

#include "kernels/loss_scale.h"
#include "report/records.h"
#include "spec/job_spec.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain {

struct LossScaling {
  LossScaleRule rule;
  LossScale start;
};

/// Empty where the precision is not fp16. `resumed`: the state that the run goes on from, null where it begins.
std::optional<LossScaling> loss_scaling(const JobSpec& job, const RunState* resumed);

/// As a checkpoint, and as a report, has it.
LossScaleState state_of(const LossScale& scale);
LossScaleReport report_of(const LossScale& scale);

}  // namespace dptrain

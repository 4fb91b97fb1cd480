// Purpose: whether what lies in a run folder is of the job at hand, and rests on the same things. Thread safety: pure
//   functions.
#pragma once

#include <string>

#include "data/dataset.h"
#include "spec/job_spec.h"
#include "train/checkpoint/checkpoint.h"

namespace dptrain {

/// The first difference between `there`, the weights_yaml() of another job, and `job`, in what decides the weights:
/// "'lr: 0.1' there, 'lr: 0.2' here"; empty where there is none. A run in which a value that is not finite would have
/// been the end has met none so far, and may go on with another policy, unless drills are to make some.
std::string job_difference(const std::string& there, const JobSpec& job);

/// Likewise of two jobs and all that there is to set, so that times can be compared too.
std::string any_difference(const JobSpec& there, const JobSpec& job);

/// Likewise of a checkpoint's state and the job, by the seed too.
std::string state_difference(const RunState& state, const JobSpec& job);

/// Whether an epoch of the run was one pass over other samples than these: "24 training samples there, 45 here"; empty
/// where it was not.
std::string samples_difference(const RunState& state, const DatasetPair& data);

/// The first fact that the bits of a checkpoint rest on and that is another now: "the checkpoint rests on glibc 2.36,
/// this run on 2.41"; empty where there is none.
std::string basis_difference(const Basis& there, const Basis& now);

}  // namespace dptrain

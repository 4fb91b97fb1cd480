// Purpose: one reader for each block of a job spec; each complains about everything wrong in its block and returns what
// it
//   could read. What they return is only to be used where nothing was complained about.
// Thread safety: one reader at a time.
#pragma once

#include "spec/binder.h"
#include "spec/job_spec.h"

namespace dptrain {

DatasetSpec read_dataset(const Value& block);
ModelSpec read_model(const Value& block);
TrainSpec read_train(const Value& block);
OptimizerSpec read_optimizer(const Value& block);
FaultsSpec read_faults(const Value& block);
std::vector<DrillSpec> read_drills(const Value& list);

/// The whole spec: the top level with its small blocks, and the checks that need several blocks.
JobSpec read_job_tree(const Value& root, const std::filesystem::path& file);

}  // namespace dptrain

// Purpose: one reader for each block of a job spec; each complains about everything wrong in its block and returns what
//   it could read. What they return is only to be used where nothing was complained about.
// Thread safety: one reader at a time.
#pragma once

#include "spec/binder.h"
#include "spec/job_spec.h"

namespace dptrain {

DatasetSpec read_dataset(const Value& block);
std::vector<AugmentSpec> read_augment(const Value& list);
ModelSpec read_model(const Value& block);
TrainSpec read_train(const Value& block);
/// `schedules_lr`: the learning rate where the block gives none and its schedule does, in place of the optimizer's own
/// default.
OptimizerSpec read_optimizer(const Value& block, std::optional<double> schedules_lr = {});
LocalSgdSpec read_local_sgd(const Value& block);
/// What local_sgd asks of other blocks, where it is the mode.
void check_local_sgd(const JobSpec& job, Diagnostics& diagnostics);
AsyncSpec read_async(const Value& block);
/// What async asks of other blocks, where it is the mode.
void check_async(const JobSpec& job, Diagnostics& diagnostics);
FaultsSpec read_faults(const Value& block);
std::vector<DrillSpec> read_drills(const Value& list);

// The blocks as YAML, each where it is read: lines that begin with the block's own key; lists and optimizers as one
// line's value.
std::string dataset_text(const DatasetSpec& dataset);
std::string augment_text(const std::vector<AugmentSpec>& augment);
std::string model_text(const ModelSpec& model);
std::string train_text(const TrainSpec& train);
std::string optimizer_text(const OptimizerSpec& optimizer);
std::string local_sgd_text(const LocalSgdSpec& local);
std::string async_text(const AsyncSpec& async);
/// `faults`, `balance` and `drills`.
std::string faults_text(const JobSpec& job);
/// What decides the weights where a value that is not finite does not end the run. On which replica a drill makes one
/// does not.
std::string decisive_faults(const JobSpec& job);

/// The whole spec: the top level with its small blocks, and the checks that need several blocks.
JobSpec read_job_tree(const Value& root, const std::filesystem::path& file);

}  // namespace dptrain

// Purpose: synchronous data-parallel training of a job on CPU replicas, one thread each.
// Thread safety: train() may be called once at a time per process; a StopRequest may be set from a signal handler.
// Invariants: the weights at the end depend on the job and the data, not on the number of replicas.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "core/stop.h"
#include "data/dataset.h"
#include "nn/parameters.h"
#include "report/reporter.h"
#include "spec/job_spec.h"
#include "train/checkpoint.h"

namespace dptrain {

/// Weights as they lie in a replica's flat buffer, and the table that reads them.
struct WeightsView {
  const ParameterTable& table;
  const float* flat;
  std::int64_t step;
};

/// Where a run leaves checkpoints, and what it starts from.
struct CheckpointOptions {
  std::filesystem::path run_folder{};         ///< empty: no checkpoints
  std::shared_ptr<Checkpoint> resume_from{};  ///< continue after its step; its tensors are given up once they are used
  bool continues = false;  ///< the run folder holds an earlier part of this run, perhaps without a checkpoint
  std::filesystem::path init_from{};  ///< a safetensors file with the first weights; empty: from the seed
};

struct TrainOptions {
  /// Ends training after the step that is running, and then an evaluation after `evaluation_grace` seconds more; one that
  /// was not complete leaves the test loss and accuracy unknown.
  const StopRequest* stop = nullptr;
  double evaluation_grace = 0.5;
  CheckpointOptions checkpoints{};
  /// Ends after this step, which is planned as a part of the whole run, without an evaluation.
  std::optional<std::int64_t> until{};
  /// Called with the final weights, on a replica's thread, before the summary is reported.
  std::function<void(const WeightsView&)> save{};
};

/// What the bits of a run of this job on this machine rest on besides the job.
Basis basis_of(const JobSpec& job, const DatasetPair& data);

/// Trains, evaluates, reports. Errors: whatever a replica throws; usage as in train/fit.h; failed where a loss is not finite.
Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options = {});

}  // namespace dptrain

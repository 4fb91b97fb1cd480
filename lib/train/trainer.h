// Purpose: synchronous data-parallel training of a job on CPU replicas, one thread each.
// Thread safety: train() may be called once at a time per process; a StopRequest may be set from a signal handler.
// Invariants: the weights at the end depend on the job and the data, not on the number of replicas.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "comm/communicator.h"
#include "core/stop.h"
#include "data/dataset.h"
#include "data/open/dataset_info.h"
#include "nn/parameters.h"
#include "report/reporter.h"
#include "spec/job_spec.h"
#include "train/checkpoint/checkpoint.h"
#include "train/fit/fit.h"

namespace dptrain {

/// Weights as they lie in a replica's flat buffer, and the table that reads them.
struct WeightsView {
  const ParameterTable& table;
  const float* flat;
  std::int64_t step;
};

/// Where a run leaves checkpoints, and what it starts from.
/// The first process alone publishes; the others read what they need.
struct CheckpointOptions {
  std::filesystem::path run_folder{};         ///< empty: no checkpoints
  std::shared_ptr<Checkpoint> resume_from{};  ///< continue after its step; its tensors are given up once they are used
  bool continues = false;  ///< the run folder holds an earlier part of this run, perhaps without a checkpoint
  /// A safetensors file with the first weights; empty: from the seed. They are published as the checkpoint of step 0.
  std::filesystem::path init_from{};
  std::string first_weights{};  ///< of a run that is resumed: their hash where they were a file's
};

/// What rollbacks have left of the learning rate, and how many there were.
struct RolledBack {
  double lr_factor = 1;
  std::int64_t rollbacks = 0;
};

struct TrainOptions {
  /// The processes that train this job together, each with train(); null: this one alone. They outlive the call.
  Communicator* processes = nullptr;
  /// Ends training after the step that is running, and then an evaluation after `evaluation_grace` seconds more; one
  /// that was not complete leaves the test loss and accuracy unknown.
  const StopRequest* stop = nullptr;
  /// Another process was asked to stop, by this signal, and this one ends with it. On a replica's thread.
  std::function<void(int signal)> stopped{};
  double evaluation_grace = 0.5;
  CheckpointOptions checkpoints{};
  /// Ends after this step, which is planned as a part of the whole run, without an evaluation.
  std::optional<std::int64_t> until{};
  /// The state to go on from, or to begin with, is one that later rollbacks came back to.
  std::optional<RolledBack> rolled_back{};
  /// Asked after each evaluation, on a replica's thread: whether the run may end there, as if it had been stopped.
  std::function<bool(const EvalReport&)> enough{};
  /// Called with the final weights, on a replica's thread, before the summary is reported.
  std::function<void(const WeightsView&)> save{};
  /// Called in mode async on a replica's thread when it has read the weights for micro-batch `index`, and before it
  /// computes: so that tests make replicas slow without a clock. `over()`: the run has failed, and nobody is to wait
  /// any longer.
  std::function<void(int rank, std::int64_t index, const std::function<bool()>& over)> weights_read{};
  /// Likewise, with `updates: locked`, when it has read one shard of them: the next may be of a later version.
  std::function<void(std::size_t shard, const std::function<bool()>& over)> shard_read{};
};

/// What the bits of a run of this job on this machine rest on besides the job.
Basis basis_of(const JobSpec& job, const DatasetPair& data, const Placement& placement);
Basis basis_of(const JobSpec& job, const DatasetPair& data);

/// The summary of a run that ends before it takes a step here: what the job and the machine say of it. `steps` are
/// those of earlier parts.
Summary summary_before(const JobSpec& job, const DatasetInfo& info, const Placement& placement, std::int64_t steps);

/// Trains, evaluates, reports. Errors: whatever a replica throws; usage as in train/fit/fit.h; failed where a loss is
/// not finite.
Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options = {});

}  // namespace dptrain

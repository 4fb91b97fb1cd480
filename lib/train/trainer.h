// Purpose: synchronous data-parallel training of a job on CPU replicas, one thread each.
// Thread safety: train() may be called once at a time per process; a StopRequest may be set from a signal handler.
// Invariants: the weights at the end depend on the job and the data, not on the number of replicas.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "data/dataset.h"
#include "nn/parameters.h"
#include "report/reporter.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Set to a signal's number to end training after the step that is running.
using StopRequest = std::atomic<int>;
static_assert(StopRequest::is_always_lock_free);

/// Weights as they lie in a replica's flat buffer, and the table that reads them.
struct WeightsView {
  const ParameterTable& table;
  const float* flat;
  std::int64_t step;
};

struct TrainOptions {
  const StopRequest* stop = nullptr;
  /// Called with the final weights, on a replica's thread, before the summary is reported.
  std::function<void(const WeightsView&)> save;
};

/// How many replicas the job gets: its `devices.count`, or one for every core, but no more than there are micro-batches.
/// Errors: usage, where a GPU is asked for and not there, or where there are more replicas than micro-batches.
int replica_count(const JobSpec& job, std::int64_t train_samples);

/// Whether replicas load ahead on threads of their own: what `data.workers` says, or for `auto` where every replica has a
/// spare core and a batch of `batch_floats` takes longer to load than a thread to wake. On a full machine a worker only
/// takes turns with its replica, which costs more than it hides.
bool wants_loader_worker(const JobSpec& job, int replicas, std::int64_t batch_floats);

/// The data fit the model: sample shape and number of classes. Errors: usage, with the spec's lines.
void check_data_fit(const JobSpec& job, const Shape& sample, std::int64_t classes);

/// Trains, evaluates, reports. Errors: whatever a replica throws; usage as above; failed where a loss is not finite.
Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options = {});

}  // namespace dptrain

// Purpose: whether a job, the data and this machine fit each other, and what is chosen where the job leaves it open.
// Thread safety: pure functions.
#pragma once

#include <cstdint>

#include "core/shape.h"
#include "spec/job_spec.h"

namespace dptrain {

/// How many replicas the job gets: its `devices.count`, or one for every core, but no more than there are micro-batches.
/// Errors: usage, where a GPU is asked for and not there, or where there are more replicas than micro-batches.
int replica_count(const JobSpec& job, std::int64_t train_samples);

/// Whether replicas load ahead on threads of their own: what `data.workers` says, or for `auto` where every replica has a
/// spare core and a batch of `batch_floats` takes longer to load than a thread to wake. On a full machine a worker only
/// takes turns with its replica, which costs more than it hides.
bool wants_loader_worker(const JobSpec& job, int replicas, std::int64_t batch_floats);

/// The data fit the model: sample shape and number of classes. Errors: usage, with the spec's lines.
void check_data_fit(const JobSpec& job, const Shape& sample, std::int64_t classes);

}  // namespace dptrain

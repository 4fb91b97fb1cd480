// Purpose: what a kind of device brings to a run: its replicas and their reducer.
// Thread safety: make_replica() is called by each replica's own thread, one after the other or at once; the rest by one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/local/local_group.h"
#include "spec/job_spec.h"
#include "train/gradient_reducer.h"

namespace dptrain {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::unique_ptr<Replica> make_replica(const Replica::Config& config) = 0;
  /// `floats` parameters and `state_buffers` as large buffers of optimizer state, zeroed.
  virtual std::unique_ptr<GradientReducer> make_reducer(LocalGroup& group, std::int64_t floats, int state_buffers,
                                                        std::optional<double> clip_norm) = 0;
};

/// For `replicas` on the devices that the job asks for. Errors: Error(usage) where this build or machine has none of them.
std::unique_ptr<Backend> make_backend(const JobSpec& job, int replicas);

std::unique_ptr<Backend> make_cpu_backend();

}  // namespace dptrain

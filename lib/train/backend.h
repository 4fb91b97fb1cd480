// Purpose: what a kind of device brings to a run: its replicas and their reducer.
// Thread safety: make_replica() is called by each replica's own thread, one after the other or at once; the rest by one thread.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "comm/local/local_group.h"
#include "nn/model.h"
#include "spec/job_spec.h"
#include "train/fit.h"
#include "train/gradient_reducer.h"

namespace dptrain {

struct ReducerConfig {
  LocalGroup& group;
  const RunSchedule& schedule;
  std::int64_t floats = 0;  ///< of the flat parameters
  int state_buffers = 0;    ///< of optimizer state, as large, zeroed
  std::optional<double> clip_norm;
  UpdateRanges ranges{};  ///< how each part of them is updated
};

/// What a model comes to, without a replica that runs it.
struct ModelPlan {
  ParameterTable parameters;
  std::int64_t activation_bytes = 0;
};
/// Prepares the job's model for these batches, the first of which decides its layouts, and lets go of it again.
ModelPlan plan_model(const ModelSpec& model, Kernels& kernels, std::span<const std::int64_t> batches);

class Backend {
 public:
  virtual ~Backend() = default;
  /// plan_model() with the operations that a replica would have.
  virtual ModelPlan plan(std::span<const std::int64_t> batches) = 0;
  virtual std::unique_ptr<Replica> make_replica(const Replica::Config& config) = 0;
  virtual std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) = 0;
};

/// For replicas where `placement` says; the job outlives it. Errors: Error(usage) where no backend of this build serves it.
std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement);

std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job);

}  // namespace dptrain

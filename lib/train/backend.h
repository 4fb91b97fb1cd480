// Purpose: what a kind of device brings to a run: its replicas and their reducer.
// Thread safety: make_replica() and host_buffer() are called by each replica's own thread, one after the other or at
//   once; the rest by one thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/local/local_group.h"
#include "device/buffer.h"
#include "nn/model.h"
#include "spec/job_spec.h"
#include "train/faults/watchdog.h"
#include "train/fit/fit.h"
#include "train/gradient_reducer.h"
#include "train/loss_scaling.h"

namespace dptrain {

struct ReducerConfig {
  LocalGroup& group;
  const RunSchedule& schedule;
  std::int64_t floats = 0;  ///< of the flat parameters
  int state_buffers = 0;    ///< of optimizer state, as large, zeroed
  std::optional<double> clip_norm;
  UpdatePlan plan{};  ///< how each part of them is updated
  std::optional<LossScaling> loss_scaling{};
  bool reassigned = false;       ///< replicas may get other micro-batches than they began with
  Watchdog* watchdog = nullptr;  ///< does not count the time that a replica waits for others in the reducer's name
};

/// What a model comes to, without a replica that runs it.
struct ModelPlan {
  ParameterTable parameters;
  std::int64_t activation_bytes = 0;
  std::int64_t copy_bytes = 0;  ///< of weights and tensors in another type or layout, see AffineOperation
};
/// Prepares the job's model for these batches, the first of which decides its layouts, and lets go of it again.
ModelPlan plan_model(const JobSpec& job, Kernels& kernels, std::span<const std::int64_t> batches);

class Backend {
 public:
  virtual ~Backend() = default;
  /// plan_model() with the operations that a replica would have.
  virtual ModelPlan plan(std::span<const std::int64_t> batches) = 0;
  virtual std::unique_ptr<Replica> make_replica(const Replica::Config& config) = 0;
  /// Zeroed memory of the host, from which its replicas read weights and to which they write gradients: see
  /// GradientTask. By the thread of a replica that is made.
  virtual Buffer host_buffer(std::size_t bytes) = 0;
  /// The same, and the other processes of this host see it too: all of them together, by one thread each.
  virtual Buffer shared_buffer(std::size_t bytes) = 0;
  /// host_buffer(), for what allocates by itself.
  std::function<Buffer(std::size_t bytes)> host_allocator() {
    return [this](std::size_t bytes) { return host_buffer(bytes); };
  }
  virtual std::unique_ptr<GradientReducer> make_reducer(const ReducerConfig& config) = 0;
};

/// For replicas where `placement` says; the job outlives it. Errors: Error(usage) where no backend of this build serves
/// it.
std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement);
/// The same for the replicas of this process among others; all of the arguments outlive it. Errors: likewise.
std::unique_ptr<Backend> make_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                      Communicator& processes);

/// The libraries that the bits of such a device's work rest on, as name and version.
std::vector<std::pair<std::string, std::string>> device_basis(DeviceType type);

std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job);
std::unique_ptr<Backend> make_cpu_backend(const JobSpec& job, const Placement& placement, const RunSchedule& schedule,
                                          Communicator& processes);

}  // namespace dptrain

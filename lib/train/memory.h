// Purpose: the memory that a synchronous run plans to take, for `check` and `plan`. The program itself, its libraries
//   and the data set are not part of it. Thread safety: values, pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "spec/job_spec.h"
#include "train/backend.h"
#include "train/schedule.h"

namespace dptrain {

/// What each replica has for itself, in bytes.
struct ReplicaMemory {
  std::int64_t buffers = 0;                                  ///< of gradients, in
  std::int64_t gradients = 0, activations = 0, batches = 0;  ///< `batches`: of samples, ahead and those of lockstep
  std::int64_t copies = 0;                                   ///< of weights and tensors in another type or layout
  std::int64_t alive = 0;                                    ///< micro-batches in lockstep; 0: one after the other
  std::int64_t bytes() const { return gradients + activations + copies + batches; }
};
/// Batches of samples that a replica's loader has with so many `workers`, which loader_workers() says; without any the
/// one that it loads itself.
std::int64_t loader_batches(const JobSpec& job, int workers);
/// What each further micro-batch takes that a replica runs in lockstep, in bytes; empty: it runs one after the other.
struct LockstepMemory {
  std::int64_t activations = 0, copies = 0;
};
std::optional<LockstepMemory> lockstep_memory(const JobSpec& job, Backend& backend, const RunSchedule& schedule);

/// With so many `buffers` of gradients and `ahead` batches; a sample is of `sample_floats`.
ReplicaMemory replica_memory(const ModelPlan& model, std::int64_t buffers, std::int64_t ahead,
                             const RunSchedule& schedule, std::int64_t sample_floats);

struct SyncMemory {
  std::int64_t shared = 0;  ///< weights, optimizer state, and mean gradients where their norm is needed; in bytes
  std::int64_t copies = 0;  ///< of them, to go back to, at most
  ReplicaMemory replica;
  std::int64_t bytes(int replicas) const { return shared + copies + replicas * replica.bytes(); }
};
/// The schedule says how many replicas there are, and loader_workers() how many `workers` load for each.
SyncMemory sync_memory(const JobSpec& job, const RunSchedule& schedule, const ModelPlan& model,
                       std::int64_t sample_floats, int workers, const std::optional<LockstepMemory>& lockstep = {});

/// What each replica has besides on its GPU, at most, in bytes.
struct GpuMemory {
  std::int64_t samples = 0;   ///< of two steps
  std::int64_t received = 0;  ///< gradient sums of the others, where NCCL brings them to be added in the fixed order
};
GpuMemory gpu_memory(const JobSpec& job, const RunSchedule& schedule, const ModelPlan& model,
                     std::int64_t sample_floats, const Placement& placement);

}  // namespace dptrain

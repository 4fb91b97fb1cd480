#include "train/memory.h"

#include <algorithm>
#include <set>
#include <string>

#include "optim/optimizer.h"
#include "spec/shapes.h"
#include "train/faults/faults.h"
#include "train/faults/rollback.h"

namespace dptrain {

namespace {

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));

/// That a replica has at most, whichever it is: buffers of gradients, and micro-batches.
struct Share {
  std::int64_t buffers = 0, micro_batches = 0;
};
Share largest_share(const JobSpec& job, const RunSchedule& schedule) {
  Share most;
  for (const ReplicaProgram& program : schedule.full().programs) {
    most.buffers = std::max<std::int64_t>(most.buffers, program.buffers);
    most.micro_batches = std::max<std::int64_t>(most.micro_batches, micro_batches_of(program));
  }
  if (may_reassign(job, static_cast<int>(schedule.full().programs.size()))) {  // any range may become anyone's
    for (const StepPlan* step : {&schedule.full(), &schedule.last()}) {
      const auto count = static_cast<int>(step->micro_batches.size());
      most.buffers = std::max<std::int64_t>(most.buffers, buffers_for_any_range(count));
      most.micro_batches = std::max<std::int64_t>(most.micro_batches, count);
    }
  }
  return most;
}

bool has_gpu_each(const Placement& placement) {
  std::set<std::string> different;
  for (const AcceleratorInfo& gpu : placement.gpus) different.insert(gpu.id);
  return placement.replicas > 1 && different.size() == placement.gpus.size();
}

}  // namespace

std::int64_t loader_batches(const JobSpec& job, int workers) {
  return workers == 0 ? 1 : std::max<std::int64_t>(job.data.prefetch, workers + 1);
}

std::optional<LockstepMemory> lockstep_memory(const JobSpec& job, Backend& backend, const RunSchedule& schedule) {
  if (sync_norms(job.model).empty()) return {};
  const ModelPlan model = backend.plan(schedule.batch_sizes());
  return LockstepMemory{model.activation_bytes, model.copy_bytes};
}

ReplicaMemory replica_memory(const ModelPlan& model, std::int64_t buffers, std::int64_t ahead,
                             const RunSchedule& schedule, std::int64_t sample_floats) {
  return {.buffers = buffers,
          .gradients = buffers * model.parameters.floats() * kFloat,
          .activations = model.activation_bytes,
          .batches = ahead * schedule.largest_batch() * sample_floats * kFloat,
          .copies = model.copy_bytes};
}

SyncMemory sync_memory(const JobSpec& job, const RunSchedule& schedule, const ModelPlan& model,
                       std::int64_t sample_floats, int workers, const std::optional<LockstepMemory>& lockstep) {
  const std::int64_t state = state_buffers(job.train.optimizer) + (job.train.ema ? 1 : 0);
  // The mean gradients lie somewhere where their norm is wanted before the update, or tensors as wholes.
  const bool keeps_means =
      job.train.clip_norm || job.train.precision == Precision::fp16 || takes_whole_tensors(job.train.optimizer);
  const std::int64_t shared = (1 + state + (keeps_means ? 1 : 0)) * model.parameters.floats() * kFloat;
  const bool may_go_back = job.faults.on_nan == OnNan::rollback;
  const Share share = largest_share(job, schedule);
  const std::int64_t alive = lockstep ? share.micro_batches : 0;
  SyncMemory memory{
      .shared = shared,
      .copies = may_go_back ? static_cast<std::int64_t>(RollbackPoints::kPoints) * shared : 0,
      .replica = replica_memory(model, share.buffers, loader_batches(job, workers) + alive, schedule, sample_floats)};
  memory.replica.alive = alive;
  if (alive > 1) {
    memory.replica.activations += (alive - 1) * lockstep->activations;
    memory.replica.copies += (alive - 1) * lockstep->copies;
  }
  return memory;
}

GpuMemory gpu_memory(const JobSpec& job, const RunSchedule& schedule, const ModelPlan& model,
                     std::int64_t sample_floats, const Placement& placement) {
  constexpr std::int64_t kSteps = 2;  // whose samples have room
  const std::int64_t replicas = placement.replicas;
  const bool moves = may_reassign(job, placement.replicas);
  std::int64_t samples = 0, roots = 0;
  for (const StepPlan* step : {&schedule.full(), &schedule.last()}) {
    const auto count = static_cast<int>(step->micro_batches.size());
    std::int64_t most = 0, all = 0;
    for (const ReplicaProgram& program : step->programs) {
      std::int64_t mine = 0;
      for (const Range& root : program.roots)
        for (int m = root.first; m < root.last; ++m) mine += step->micro_batches[static_cast<std::size_t>(m)].count;
      most = std::max(most, mine);
      all += static_cast<std::int64_t>(program.roots.size());
    }
    samples = std::max(samples, moves ? step->samples : most);
    roots = std::max(roots, moves ? replicas * buffers_for_any_range(count) : all);
  }
  GpuMemory memory{.samples = kSteps * samples * sample_floats * kFloat};
  if (job.reproducible && has_gpu_each(placement))
    memory.received = roots * (replicas - 1) / replicas * model.parameters.floats() / replicas * kFloat;
  return memory;
}

}  // namespace dptrain

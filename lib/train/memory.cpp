#include "train/memory.h"

#include <algorithm>

#include "optim/optimizer.h"
#include "train/faults.h"
#include "train/rollback.h"

namespace dptrain {

namespace {

constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));

/// That a replica has, whichever it is.
std::int64_t gradient_buffers(const JobSpec& job, const RunSchedule& schedule) {
  std::int64_t buffers = 0;
  for (const ReplicaProgram& program : schedule.full().programs)
    buffers = std::max<std::int64_t>(buffers, program.buffers);
  if (may_reassign(job, static_cast<int>(schedule.full().programs.size()))) {  // any range may become anyone's
    for (const StepPlan* step : {&schedule.full(), &schedule.last()})
      buffers = std::max<std::int64_t>(buffers, buffers_for_any_range(static_cast<int>(step->micro_batches.size())));
  }
  return buffers;
}

}  // namespace

ReplicaMemory replica_memory(const ModelPlan& model, std::int64_t buffers, std::int64_t ahead,
                             const RunSchedule& schedule, std::int64_t sample_floats) {
  return {.buffers = buffers,
          .gradients = buffers * model.parameters.floats() * kFloat,
          .activations = model.activation_bytes,
          .batches = ahead * schedule.largest_batch() * sample_floats * kFloat};
}

SyncMemory sync_memory(const JobSpec& job, const RunSchedule& schedule, const ModelPlan& model,
                       std::int64_t sample_floats) {
  const std::int64_t state = make_optimizer(job.train.optimizer)->state_buffers() + (job.train.ema ? 1 : 0);
  const std::int64_t shared = (1 + state) * model.parameters.floats() * kFloat;
  const bool may_go_back = job.faults.on_nan == OnNan::rollback;
  return {
      .shared = shared,
      .copies = may_go_back ? static_cast<std::int64_t>(RollbackPoints::kPoints) * shared : 0,
      .replica = replica_memory(model, gradient_buffers(job, schedule), job.data.prefetch, schedule, sample_floats)};
}

}  // namespace dptrain

#include "train/sync/run_sync.h"

#include <algorithm>
#include <cmath>

#include "core/clock.h"
#include "core/error.h"
#include "train/evaluate.h"
#include "train/faults/settle.h"
#include "train/run.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

/// Whether the losses of this replica's micro-batches are finite.
bool losses_are_finite(const Run& run, int rank, const StepPlan& plan) {
  for (const auto& instruction : plan.programs[static_cast<std::size_t>(rank)].instructions) {
    if (instruction.kind == ReplicaProgram::Instruction::Kind::run &&
        !std::isfinite(run.losses[static_cast<std::size_t>(instruction.micro_batch)].loss))
      return false;
  }
  return true;
}

/// The gradients of `step` were not finite, and there is no lower scale. Errors: always.
[[noreturn]] void give_up_scaling(Run& run, std::int64_t step) {
  FaultReport report{.kind = "not_finite", .action = {}, .step = step};
  report.message = fmt::format(
      "the gradients are not finite at {}, though the loss scale is down to {:g} (train.loss_scale.min_scale)",
      run.progress->place(step, run.lr(step)), run.job.train.loss_scale.min_scale);
  decide(run, std::move(report), steady_seconds(), false);
  broken_invariant(__FILE__, __LINE__, "on GPUs such a fault ends the run");
}

/// The losses of `step` are known.
void stepped(Run& run, std::int64_t step) {
  if (run.loss_scale) run.progress->set_loss_scale(report_of(*run.loss_scale));
  run.progress->stepped(step, run.lr(step), run.schedule.plan(step), run.losses, {});
  if (run.loss_scale && run.loss_scale->exhausted) give_up_scaling(run, step);
}

void collect(Run& run, int rank, Replica& replica, std::int64_t step) {
  run.busy[static_cast<std::size_t>(rank)] = replica.collect(step, run.losses);
  if (run.leads(rank)) run.loss_scale = replica.loss_scale();
}

/// This replica's part of a step, with what the drills do to it; `collected` is the step whose losses are due, -1 for
/// none. Where it fails and the run goes on without it, it says so, and the step is settled after the gather.
Replica::Times attempt(Run& run, int rank, Replica& replica, const StepTask& task, const StepPlan& plan,
                       std::int64_t collected) {
  if (run.faults.out(rank)) return {};
  Replica::Times times;
  try {
    if (run.watchdog) run.watchdog->begin(rank, task.step);
    if (run.leads(rank)) run.processes.at_step(task.step);
    run.drills.before(rank, task.step);
    times = replica.run(task);
    if (run.watchdog && collected >= 0) run.watchdog->begin(rank, collected);
    if (collected >= 0) collect(run, rank, replica, collected);
    if (run.watchdog) run.watchdog->end(rank);
  } catch (const GroupAborted&) {
    throw;
  } catch (...) {
    if (run.watchdog) run.watchdog->end(rank);
    run.faults.failed(rank, task.step, std::current_exception());
    if (run.job.faults.on_replica_failure == OnReplicaFailure::stop)
      throw replica_error(rank, task.step, std::current_exception());
    return {};
  }
  run.faults.well(rank, replica.gradient_bound(), collected != task.step || losses_are_finite(run, rank, plan));
  return times;
}

/// What was spoilt is a part of the run's state, which the first process saves.
void note_drills_elsewhere(Run& run, std::int64_t step) {
  if (run.job.drills.empty()) return;
  for (int r = 0; r < run.placement.replicas; ++r)
    if (r < run.here.first || r >= run.here.last) static_cast<void>(run.drills.poisons(r, step));
}

/// Rank 0's, when it is known what `step` took, if that was a full one: whether micro-batches should move from step
/// `next` on.
void balance(Run& run, std::int64_t step, std::int64_t next) {
  const Assignment& now = *run.assignment;
  if (!run.balancer || &now.plan(step) != &now.full()) return;
  auto costs = run.balancer->stepped(step, run.busy, now.shares(), now.costs());
  if (!costs || next >= run.end) return;
  auto better = std::make_shared<const Assignment>(run.schedule, std::move(*costs));
  if (run.reducer->takes(better->full()) && run.reducer->takes(better->last()))
    reassign(run, next, std::move(better), "balance");
}

/// Rank 0's, when all have computed `step` and know whether its update is applied; `collected`: whose losses are known,
/// -1 for none.
void account(Run& run, std::int64_t step, bool applies, std::int64_t collected) {
  run.progress->took(run.times);  // of this step what its computation took, of the one before what its end did
  if (applies) {
    if (collected >= 0) stepped(run, collected);
    run.skips_in_a_row = 0;
    if (!run.faults.list().empty()) {
      for (const FaultReport& report : run.faults.recovered(step, steady_seconds())) run.reporter.recovered(report);
    }
  } else {
    run.progress->skipped(step);
  }
  if (stop_agreed(run)) run.end = step + 1;
  if (collected >= 0) balance(run, collected, step + 1);
}

/// The losses of what the devices were still at work on, up to `step`, and what the end of the step before took.
void catch_up(Run& run, int rank, Replica& replica, std::int64_t& collected, std::int64_t step) {
  run.group.barrier([&run] {  // all have written what the end of the step took them
    for (StepTimes& times : run.times) times.data = times.compute = 0;
    run.progress->took(run.times);
    std::fill(run.times.begin(), run.times.end(), StepTimes());
  });
  for (; collected < step; ++collected) {
    collect(run, rank, replica, collected);
    run.step_status.meet(run, run.assignment->plan(collected));
    if (run.leads(rank)) {
      stepped(run, collected);
      run.progress->report_if_due(collected + 1, run.end, steady_seconds());
      balance(run, collected, step);
    }
    run.group.barrier();
  }
}

/// The end of a step without an update: nobody begins the next before all know.
GradientReducer::Times meet(Run& run) {
  const double start = steady_seconds();
  run.group.barrier();
  const double end = steady_seconds();
  return {.wait = end - start, .end = end};
}

}  // namespace

void run_sync(Run& run, int rank, Replica& replica, std::int64_t until) {
  StepTimes& times = run.times[static_cast<std::size_t>(rank)];
  std::shared_ptr<const Assignment> assignment = run.assignment;
  std::int64_t step = run.first, collected = run.first;  // steps begun, and those whose losses are known
  std::int64_t weights = run.first;                      // their version
  bool again = false;                                    // the step is done once more, and its drills with it
  bool poison = false;
  const auto go_on_from_rollback = [&] {
    step = collected = run.rollback_step;
    ++weights;
    if (!run.faults.out(rank)) replica.assign(assignment, step);
  };
  // A run that was stopped after its last step and before the evaluation.
  if (run.first == run.end && run.options.checkpoints.resume_from->snapshot.state.evaluated_step != run.end &&
      evaluate(run, replica, rank, run.end) == Outcome::back)
    go_on_from_rollback();
  while (step < std::min(run.end, until)) {
    if (assignment != run.assignment) {
      assignment = run.assignment;
      if (!run.faults.out(rank)) replica.assign(assignment, step);
    }
    const StepPlan& plan = assignment->plan(step);
    if (!again) poison = run.drills.poisons(rank, step);
    if (!again && run.leads(rank)) note_drills_elsewhere(run, step);
    const StepTask task{.step = step, .weights = weights, .poison = poison, .slow = run.drills.slowness(rank, step)};
    run.reducer->begin(rank, run.update(step));
    const bool due = step - collected >= replica.lag();
    const Replica::Times computed = attempt(run, rank, replica, task, plan, due ? collected : -1);
    times.data = computed.data;
    times.compute = computed.compute;
    const double waited =
        run.step_status.gather(run, rank, due && collected < step ? assignment->plan(collected) : plan);

    const Outcome outcome = run.faults.any() ? settle(run, rank, replica, task, plan) : Outcome::good;
    again = outcome == Outcome::again;
    if (again) continue;
    if (outcome == Outcome::back) {
      go_on_from_rollback();
      continue;
    }
    ++weights;
    const bool applies = outcome == Outcome::good;
    if (run.leads(rank)) account(run, step, applies, due ? collected : -1);
    const GradientReducer::Times reduced = applies ? run.reducer->update(rank, plan) : meet(run);
    times.wait = computed.wait + waited + reduced.wait;
    times.reduce = computed.reduce + reduced.reduce;
    ++step;
    if (due) {
      ++collected;
      if (run.leads(rank)) run.progress->report_if_due(collected, run.end, reduced.end);
    }
    if (step % run.evaluate_every == 0 || step == run.end) catch_up(run, rank, replica, collected, step);
    if (between_steps(run, replica, rank, step) == Outcome::back) go_on_from_rollback();
  }
  catch_up(run, rank, replica, collected, step);  // where the run goes on otherwise
}

namespace {

/// The state that the run goes on from; null where it begins.
const RunState* resumed(const Run& run) {
  const CheckpointOptions& options = run.options.checkpoints;
  return options.resume_from ? &options.resume_from->snapshot.state : nullptr;
}

class SyncStrategy final : public UpdateStrategy {
 public:
  void check(const JobSpec& job, const Placement& placement, const RunSchedule&) const override {
    check_faults_fit(job, placement);
  }
  void configure(const Run& run, Replica::Config& config) const override {
    config.reassigned = may_reassign(run.job, run.placement.replicas);
  }
  WeightsHolder& hold(Run& run, std::int64_t floats) override {
    run.reducer = run.backend->make_reducer({.group = run.group,
                                             .schedule = run.schedule,
                                             .floats = floats,
                                             .state_buffers = state_buffers(run.job.train.optimizer),
                                             .clip_norm = run.job.train.clip_norm,
                                             .plan = run.update_plan,
                                             .loss_scaling = loss_scaling(run.job, resumed(run)),
                                             .reassigned = may_reassign(run.job, run.placement.replicas),
                                             .watchdog = run.watchdog.get()});
    return *run.reducer;
  }
  void start(Run&) override {}
  void join(Run& run, int rank, Replica& replica) override {
    replica.bind(run.reducer->parameters(rank));
    run.reducer->join(rank, replica);
  }
  void run(Run& run, int rank, Replica& replica) override { run_sync(run, rank, replica); }
  void abandon(Run& run) noexcept override { run.reducer->abandon(); }
};

}  // namespace

std::unique_ptr<UpdateStrategy> make_sync_strategy() {
  return std::make_unique<SyncStrategy>();
}

}  // namespace dptrain

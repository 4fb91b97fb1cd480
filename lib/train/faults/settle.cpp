#include "train/faults/settle.h"

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"

namespace dptrain {

namespace {

/// The micro-batches of those that failed go to the others, and the step is done again.
void hand_over(Run& run, std::int64_t step) {
  std::vector<double> costs = run.assignment->costs();
  for (std::size_t rank = 0; rank < costs.size(); ++rank) {
    if (run.faults.out(static_cast<int>(rank))) costs[rank] = kNever;
  }
  if (std::none_of(costs.begin(), costs.end(), [](double cost) { return cost < kNever; })) run.faults.rethrow_newest();
  for (const int rank : run.faults.take_failed()) {
    const Error error = replica_error(rank, step, run.faults.error(rank));
    FaultReport report{.kind = "replica_failed", .action = "continue", .step = step, .replica = rank};
    report.message = fmt::format("{}; the others take its micro-batches", error.what());
    run.reporter.fault(report);
    run.faults.note(std::move(report), run.faults.since(rank));
  }
  reassign(run, step, std::make_shared<const Assignment>(run.schedule, std::move(costs)), "replica_failed");
}

FaultReport not_finite(const Run& run, std::int64_t step) {
  FaultReport report{.kind = "not_finite", .action = {}, .step = step};
  std::string what = "the sum of the gradients", where;
  const NotFinite* first = nullptr;
  for (std::size_t rank = 0; rank < run.not_finite.size(); ++rank) {
    const std::optional<NotFinite>& found = run.not_finite[rank];
    if (!found || (first != nullptr && first->micro_batch < found->micro_batch)) continue;
    first = &*found;
    report.replica = static_cast<int>(rank);
  }
  if (first != nullptr) {
    report.micro_batch = first->micro_batch;
    report.parameter = first->parameter;
    what = first->loss ? "the loss" : fmt::format("the gradient of {}", first->parameter);
    where = fmt::format(", micro-batch {} on replica {}{}", report.micro_batch, report.replica,
                        first->loss && !first->parameter.empty()
                            ? fmt::format(", and so is the gradient of {}", first->parameter)
                            : std::string());
  }
  report.message = fmt::format("{} is not finite at {}{}", what, run.progress->place(step, run.lr(step)), where);
  return report;
}

/// What replicas have found, from all processes to all.
void share_findings(Run& run) {
  struct Finding {
    int micro_batch = -1;
    bool loss = false;
    char parameter[200] = {};
  };
  std::vector<Finding> findings(run.not_finite.size());
  for (std::size_t rank = 0; rank < findings.size(); ++rank) {
    if (const std::optional<NotFinite>& found = run.not_finite[rank]) {
      findings[rank] = {.micro_batch = found->micro_batch, .loss = found->loss, .parameter = {}};
      found->parameter.copy(findings[rank].parameter, sizeof Finding::parameter - 1);
    }
  }
  share_by_replica(run, findings);
  for (std::size_t rank = 0; rank < findings.size(); ++rank) {
    const Finding& found = findings[rank];
    run.not_finite[rank].reset();
    if (found.micro_batch >= 0) run.not_finite[rank] = {found.micro_batch, found.loss, found.parameter};
  }
}

/// Whether all processes can: of the optimizer's state each may have a part.
void agree_to_skip(Run& run) {
  const char mine = run.can_skip ? 1 : 0;
  std::vector<char> all(static_cast<std::size_t>(run.processes.size()));
  run.processes.all_gather(&mine, sizeof mine, all.data());
  run.can_skip = std::find(all.begin(), all.end(), 0) == all.end();
}

void roll_back(Run& run, std::int64_t step) {
  run.lr_factor *= run.job.faults.rollback_lr_factor;
  ++run.rollbacks;
  go_back_to(run, run.rollback_points.back(step));
  run.progress->rewound(run.rollback_step);
  if (run.balancer) run.balancer->restart(run.rollback_step);  // steps that count come again
}

/// Why the policy does not help any more, and what may.
std::string last_words(const Run& run, bool can_skip) {
  const FaultsSpec& policy = run.job.faults;
  std::string why;
  if (policy.on_nan == OnNan::skip && !can_skip)
    why = ", and that is of the weights: no step can be left out to mend it";
  else if (policy.on_nan == OnNan::skip)
    why = fmt::format(", after {} steps in a row that were left out (faults.max_skips)", run.skips_in_a_row);
  if (policy.on_nan == OnNan::rollback)
    why = fmt::format(", after {} rollback{} (faults.max_rollbacks)", run.rollbacks, run.rollbacks == 1 ? "" : "s");
  return fmt::format(
      "{}: training has diverged. A lower learning rate, warm-up (train.lr_schedule.warmup_steps) or clipping "
      "(train.clip_grad_norm) may help{}",
      why,
      policy.on_nan == OnNan::stop && run.job.mode != Mode::local_sgd  // which has no other policy
          ? "; faults.on_nan can skip such a step or go back."
          : ".");
}

}  // namespace

Outcome decide(Run& run, FaultReport report, double began, bool can_skip) {
  const FaultsSpec& policy = run.job.faults;
  const std::int64_t step = report.step;
  Outcome outcome = Outcome::skip;
  if (policy.on_nan == OnNan::skip && can_skip && run.skips_in_a_row < policy.max_skips) {
    report.action = "skip";
    ++run.skips_in_a_row;
    ++run.summary.skipped_steps;
    report.message +=
        fmt::format(": its update is left out ({} in a row, at most {})", run.skips_in_a_row, policy.max_skips);
  } else if (policy.on_nan == OnNan::rollback && run.rollbacks < policy.max_rollbacks) {
    outcome = Outcome::back;
    report.action = "rollback";
    roll_back(run, step);
    report.message += fmt::format(": back to step {}, with {:g} of the learning rate (rollback {} of at most {})",
                                  run.rollback_step, run.lr_factor, run.rollbacks, policy.max_rollbacks);
  } else {
    report.action = "stop";
    report.message += last_words(run, can_skip);
    run.reporter.record(report);
    run.faults.note(report, began);
    if (!run.faults.losses_are_finite()) run.progress->diverged();
    throw Error(ExitStatus::failed, report.message);
  }
  run.reporter.fault(report);
  run.faults.note(std::move(report), began);
  return outcome;
}

void reassign(Run& run, std::int64_t step, std::shared_ptr<const Assignment> assignment, const std::string& reason) {
  AssignmentReport report{
      .step = step, .reason = reason, .micro_batches = {}, .before = run.assignment->shares(), .seconds = {}};
  if (reason == "balance") report.seconds = assignment->costs();
  run.assignment = std::move(assignment);
  report.micro_batches = run.assignment->shares();
  run.reporter.assigned(report);
  if (run.balancer) run.balancer->restart(step);
}

Outcome settle(Run& run, int rank, Replica& replica, const StepTask& task, const StepPlan& plan) {
  const double began = steady_seconds();
  if (run.faults.replica_failed()) {
    run.group.barrier();  // everybody has asked
    if (run.leads(rank)) hand_over(run, task.step);
    run.group.barrier();
    return Outcome::again;
  }
  if (run.faults.losses_are_finite()) {
    // Gradients near the end of the range: only their sum can tell.
    run.finite[static_cast<std::size_t>(rank)] = run.reducer->finite(rank, plan);
    run.group.barrier([&run] { share_by_replica(run, run.finite); });
    if (std::find(run.finite.begin(), run.finite.end(), false) == run.finite.end()) return Outcome::good;
  }
  run.group.barrier();  // nobody reads gradients any more: finding the place takes their buffers
  std::optional<NotFinite>& found = run.not_finite[static_cast<std::size_t>(rank)];
  found.reset();
  if (!run.faults.out(rank)) found = replica.diagnose(task);
  run.group.barrier([&run] { share_findings(run); });
  if (run.job.faults.on_nan == OnNan::skip) {
    if (run.leads(rank)) run.can_skip = state_is_finite(run, replica.parameters());
    run.group.barrier([&run] { agree_to_skip(run); });
  }
  if (run.leads(rank)) {
    const bool can_skip = run.job.faults.on_nan == OnNan::skip && run.can_skip;
    run.outcome = static_cast<int>(decide(run, not_finite(run, task.step), began, can_skip));
  }
  run.group.barrier();
  return static_cast<Outcome>(run.outcome);
}

}  // namespace dptrain

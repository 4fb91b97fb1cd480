#include "train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/clock.h"

namespace dptrain {

namespace {

/// What the replicas have found, and whether they were asked to stop, from all processes to all.
void share_sums(Run& run) {
  const auto replicas = static_cast<std::size_t>(run.placement.replicas);
  share_entries(run.processes, std::span(run.test_sums),
                [&](std::size_t chunk) { return run.placement.process_of(static_cast<int>(chunk % replicas)); });
  share_by_replica(run, run.evaluated);
  share_stop(run);
}

/// One pass of all replicas over the test set, with these weights; empty where not all of it was done. The sums are
/// rank 0's to read until the next barrier.
bool pass_over(Run& run, Replica& replica, int rank, std::int64_t step, const std::function<bool()>& give_up) {
  run.evaluated[static_cast<std::size_t>(rank)] =
      run.faults.out(rank) || replica.evaluate(step, run.test_sums, give_up);
  if (run.watchdog) run.watchdog->end(rank);
  run.group.barrier([&run] { share_sums(run); });
  return std::find(run.evaluated.begin(), run.evaluated.end(), false) == run.evaluated.end();
}

Tested tested(const Run& run) {
  LossSum sum;
  for (const LossSum& chunk : run.test_sums) {
    sum.loss += chunk.loss;
    sum.correct += chunk.correct;
  }
  const auto samples = static_cast<double>(run.data.test->size());
  return {sum.loss / samples, static_cast<double>(sum.correct) / samples};
}

}  // namespace

Outcome evaluate(Run& run, Replica& replica, int rank, std::int64_t step) {
  const double start = steady_seconds();
  double asked = not_known;  // when this replica first saw the request
  const auto give_up = [&] {
    if (run.watchdog) run.watchdog->begin(rank, step);  // the deadline is for each chunk
    if (!stop_asked(run.options.stop)) return false;
    if (std::isnan(asked)) {
      asked = steady_seconds();
      // On its way to the disk while this goes on, unless all processes are needed for it: they are not asked here.
      if (run.leads(rank) && !run.weights->is_spread()) save(run, replica.parameters(), step);
    }
    return steady_seconds() - asked >= run.options.evaluation_grace;
  };
  bool complete = pass_over(run, replica, rank, step, give_up);
  Tested weights, average;
  if (complete && run.leads(rank)) weights = tested(run);
  if (complete && run.job.train.ema) {
    run.group.barrier();  // the next pass writes the sums again
    replica.bind(run.weights->average(rank));
    complete = pass_over(run, replica, rank, step, give_up);
    replica.bind(run.weights->parameters(rank));
    if (complete && run.leads(rank)) average = tested(run);
  }
  if (run.leads(rank)) {
    run.outcome = static_cast<int>(Outcome::good);
    run.cut_short = !complete;
    if (run.cut_short || stop_agreed(run)) run.end = step;
    if (!run.cut_short) {
      const EvalReport found = run.progress->evaluated(step, weights, average, steady_seconds() - start);
      if (run.options.enough && run.options.enough(found)) run.end = step;
      if (!std::isfinite(weights.loss)) {
        FaultReport report{.kind = "not_finite", .action = {}, .step = step};
        report.message = fmt::format("the test loss is not finite after {}",
                                     run.progress->place(step, run.strategy->rate(run, step)));
        run.outcome = static_cast<int>(decide(run, std::move(report), start, false));
      }
    }
  }
  run.group.barrier();  // the next evaluation writes test_sums again
  return static_cast<Outcome>(run.outcome);
}

namespace {

/// Good where all processes have said so. Before any of them acts on it: those of a host read the same weights, and
/// going back writes them.
void agree_on_outcome(Run& run) {
  const int mine = run.outcome;
  std::vector<int> all(static_cast<std::size_t>(run.processes.size()));
  run.processes.all_gather(&mine, sizeof mine, all.data());
  const auto other =
      std::find_if(all.begin(), all.end(), [](int one) { return one != static_cast<int>(Outcome::good); });
  if (other != all.end()) run.outcome = *other;
}

/// A checkpoint of `step`. Where the job may go back, weights that are not finite are a reason to: then all wait for
/// the answer.
Outcome save_or_go_back(Run& run, int rank, Replica& replica, std::int64_t step) {
  if (run.job.faults.on_nan != OnNan::rollback) {
    if (run.leads(rank)) save(run, replica.parameters(), step);
    // What is copied from the GPUs must not be changed meanwhile by a replica that has gone on.
    if (run.placement.type == DeviceType::cuda) run.group.barrier([] {});
    return Outcome::good;
  }
  run.group.barrier();  // everybody has read the last outcome
  if (run.leads(rank))
    run.outcome = static_cast<int>(state_is_finite(run, replica.parameters()) ? Outcome::good : Outcome::back);
  run.group.barrier([&run] { agree_on_outcome(run); });
  if (run.leads(rank)) {
    if (run.outcome == static_cast<int>(Outcome::good)) {
      save(run, replica.parameters(), step);
    } else {
      FaultReport report{.kind = "not_finite", .action = {}, .step = step};
      report.message =
          fmt::format("the weights are not finite after {}", run.progress->place(step, run.strategy->rate(run, step)));
      run.outcome = static_cast<int>(decide(run, std::move(report), steady_seconds(), false));
    }
  }
  run.group.barrier();
  return static_cast<Outcome>(run.outcome);
}

}  // namespace

Outcome between_steps(Run& run, Replica& replica, int rank, std::int64_t step) {
  const bool evaluates = step % run.evaluate_every == 0 || step == run.end;
  // On a request to stop what was reached comes to the disk before anything else.
  const bool stopped = step == run.end && step < run.schedule.steps();
  const bool saves = stopped || step % run.checkpoint_every == 0;
  Outcome outcome = Outcome::good;
  if (stopped) outcome = save_or_go_back(run, rank, replica, step);
  if (outcome == Outcome::good && evaluates && !run.options.until) outcome = evaluate(run, replica, rank, step);
  if (outcome == Outcome::good && saves && !stopped && step < run.end)
    outcome = save_or_go_back(run, rank, replica, step);
  return outcome;
}

}  // namespace dptrain

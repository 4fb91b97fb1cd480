#include "train/local_sgd/local_sgd_strategy.h"

#include <algorithm>

#include "core/clock.h"
#include "core/error.h"
#include "train/evaluate.h"
#include "train/faults/settle.h"
#include "train/local_sgd/local_sgd.h"
#include "train/local_sgd/local_steps.h"
#include "train/local_sgd/worker_exchange.h"
#include "train/run.h"
#include "train/sync/run_sync.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

class LocalSgdStrategy final : public UpdateStrategy {
 public:
  void check(const JobSpec& job, const Placement& placement, const RunSchedule&) const override {
    check_faults_fit(job, placement);
    check_elementwise(job);
  }
  void configure(const Run& run, Replica::Config& config) const override {
    config.steps = begins_in_sync(run);
    config.single_sizes = run.schedule.batch_sizes();
  }
  WeightsHolder& hold(Run& run, std::int64_t floats) override;
  void start(Run& run) override { doubt_longer_run(run); }
  void join(Run& run, int rank, Replica& replica) override {
    if (!begins_in_sync(run)) return;
    replica.bind(run.reducer->parameters(rank));
    run.reducer->join(rank, replica);
  }
  void run(Run& run, int rank, Replica& replica) override;
  void abandon(Run& run) noexcept override {
    if (run.reducer) run.reducer->abandon();
  }
  void describe(RunState& state) const override { state.averages = local_->averages; }
  void summarise(Summary& summary) const override;

 private:
  void doubt_longer_run(const Run& run) const;
  static bool begins_in_sync(const Run& run) { return run.first < run.job.local_sgd.warmup_sync_steps; }
  void name_states(Run& run) const;
  void take_over(Run& run);
  void set_out(Run& run, std::int64_t step);
  void take_round(Run& run, int rank, LocalSteps& steps, std::int64_t first, std::int64_t end);
  void share_round(Run& run, std::int64_t first, std::int64_t end) const;
  void stop_where_not_finite(Run& run) const;
  void tell(Run& run, std::int64_t first, std::int64_t end) const;
  void at_average(Run& run, int rank, Replica& replica, std::int64_t before, std::int64_t step) const;

  std::unique_ptr<LocalSgd> local_;
  std::unique_ptr<WorkerExchange> exchange_;
  bool told_of_stop_ = false;  // the leader's
};

WeightsHolder& LocalSgdStrategy::hold(Run& run, std::int64_t floats) {
  const int states = state_buffers(run.job.train.optimizer);
  const auto& checkpoint = run.options.checkpoints.resume_from;
  const WorkersConfig workers{
      .spec = run.job.local_sgd,
      .floats = floats,
      .state_buffers = states,
      .ranges = run.update_plan.ranges,
      .here = workers_here(static_cast<int>(run.job.local_sgd.workers), run.placement, run.processes),
      .writes = run.processes.first_of_host(),
      .weights = [&run](std::size_t bytes) { return run.backend->shared_buffer(bytes); },
      .states = [&run](std::size_t bytes) { return run.processes.share(bytes); }};
  local_ =
      std::make_unique<LocalSgd>(LocalSgdConfig{.job = run.job,
                                                .schedule = run.schedule,
                                                .workers = workers,
                                                .replicas = run.placement.replicas,
                                                .first = run.first,
                                                .averages = checkpoint ? checkpoint->snapshot.state.averages : -1});
  exchange_ = std::make_unique<WorkerExchange>(local_->workers, run.group, run.processes, run.placement);
  name_states(run);
  if (!begins_in_sync(run)) return local_->workers;
  run.reducer = run.backend->make_reducer({.group = run.group,
                                           .schedule = run.schedule,
                                           .floats = floats,
                                           .state_buffers = states,
                                           .clip_norm = run.job.train.clip_norm,
                                           .plan = run.update_plan,
                                           .watchdog = run.watchdog.get()});
  return *run.reducer;
}

/// A run of more steps than before, from where it had ended: that is an average, wherever it falls.
void LocalSgdStrategy::doubt_longer_run(const Run& run) const {
  if (!local_->begins_inside_a_round() || run.first >= run.end) return;
  const Rounds& rounds = local_->rounds;
  run.reporter.warning(
      fmt::format("the weights will not get the bits of a run of {} steps in one piece: this one had its end, and an "
                  "average of the "
                  "workers, after step {}, and that is between those after steps {} and {} (local_sgd.sync_every)",
                  run.schedule.steps(), run.first, rounds.first(run.first), rounds.last(run.first)));
}

/// What checkpoints keep beside the average and the state of worker 0: where each worker keeps its own the others', and
/// the outer optimizer's.
void LocalSgdStrategy::name_states(Run& run) const {
  const Workers& workers = local_->workers;
  const std::vector<std::string> names = state_names(run.job.train.optimizer);
  for (int worker = 1; local_->spec.worker_state == WorkerState::keep && worker < workers.count(); ++worker) {
    for (std::size_t k = 0; k < names.size(); ++k) {
      const int number = static_cast<int>(k);
      run.more_state.push_back({.name = fmt::format("worker{}.{}", worker, names[k]),
                                .load = [=, this](const float* from) { exchange_->load_state(worker, number, from); },
                                .save = [=, this](float* to) { exchange_->save_state(worker, number, to); }});
    }
  }
  if (!workers.outer()) return;
  const std::vector<std::string> outer = state_names(*workers.outer());
  for (std::size_t k = 0; k < outer.size(); ++k) {
    float* values = workers.outer_state(static_cast<int>(k));
    run.more_state.push_back({.name = fmt::format("outer.{}", outer[k]),
                              .load = [&workers, values](const float* from) { workers.load(values, from); },
                              .save = [&workers, values](float* to) { std::copy_n(values, workers.floats(), to); }});
  }
}

/// The leader's: what warm-up has left, to each host's first worker.
void LocalSgdStrategy::take_over(Run& run) {
  Workers& workers = local_->workers;
  const int me = run.processes.rank();
  const bool is_spread = run.reducer->is_spread();
  if (is_spread) run.reducer->gather_state();
  if (run.processes.first_of_host()) run.reducer->save(workers.average_weights());
  const auto bytes = static_cast<std::size_t>(workers.floats()) * sizeof(float);
  std::vector<Message> sends, receives;
  for (int k = 0; k < state_buffers(run.job.train.optimizer); ++k) {
    float* const state = workers.state(workers.here().first, k);
    if (is_spread ? me == 0 : run.processes.first_of_host()) run.reducer->save_state(k, state);
    for (const int host : run.processes.hosts()) {
      if (!is_spread || host == 0) continue;
      if (me == 0) sends.push_back({host, state, bytes});
      if (me == host) receives.push_back({0, state, bytes});
    }
  }
  run.processes.exchange(sends, receives);
}

/// The leader's: the workers begin at `step`, with the weights and the state that warm-up has left or the run began
/// with.
void LocalSgdStrategy::set_out(Run& run, std::int64_t step) {
  Workers& workers = local_->workers;
  if (run.weights != &workers) {
    take_over(run);
    run.weights = &workers;
  }
  // Where each keeps its own state and there has been a round, they have been restored one by one.
  workers.set_out(step <= local_->rounds.warmup || local_->spec.worker_state != WorkerState::keep);
}

/// The steps of a round, and the average after them: all replicas meet, and each averages its share of the parameters.
void LocalSgdStrategy::take_round(Run& run, int rank, LocalSteps& steps, std::int64_t first, std::int64_t end) {
  // Steps before one that was not finite elsewhere are taken: theirs may be the one that is told.
  for (std::int64_t step = first; step < end && steps.finite() && step <= local_->not_finite_at; ++step) {
    if (run.group.error()) throw GroupAborted{};
    if (run.leads(rank) && !told_of_stop_ && step + 1 < end && stop_asked(run.options.stop)) {
      told_of_stop_ = true;
      run.reporter.message(
          fmt::format("asked to stop at step {}: stops after step {}, where the workers' average is taken", step, end));
    }
    steps.take(step, local_->told(step - first));
  }
  const double start = steady_seconds();
  run.group.barrier([&] { share_round(run, first, end); });
  if (run.leads(rank)) {
    stop_where_not_finite(run);
    if (stop_agreed(run)) run.end = end;
  }
  const double met = steady_seconds();
  exchange_->average(rank, local_->samples(first, end), local_->averages);
  StepTimes& times = local_->told(end - 1 - first).times[static_cast<std::size_t>(rank)];
  times.reduce += steady_seconds() - met;
  times.wait += met - start;
  run.group.barrier();
  if (run.leads(rank)) ++local_->averages;
}

/// By micro-batch of a step: the process whose worker it is of.
std::vector<int> processes_of(const Run& run, const SlicedStep& step) {
  std::vector<int> owners(step.micro_batches.size());
  for (int replica = 0; replica < run.placement.replicas; ++replica) {
    const Range workers = share(static_cast<int>(step.slices.size()), run.placement.replicas, replica);
    for (int worker = workers.first; worker < workers.last; ++worker) {
      const Range& mine = step.slices[static_cast<std::size_t>(worker)].micro_batches;
      std::fill(owners.begin() + mine.first, owners.begin() + mine.last, run.placement.process_of(replica));
    }
  }
  return owners;
}

/// What the replicas have to tell of the round, and whether they were asked to stop, from all processes to all.
void LocalSgdStrategy::share_round(Run& run, std::int64_t first, std::int64_t end) const {
  LocalSgd& local = *local_;
  const auto steps = static_cast<std::size_t>(end - first), replicas = local.not_finite.size(),
             losses = local.losses.size() / local.ends.size();
  const std::vector<int> full = processes_of(run, local.full), last = processes_of(run, local.last);
  share_entries(run.processes, std::span(local.losses).first(steps * losses), [&](std::size_t k) {
    const bool is_full = &local.slices(first + static_cast<std::int64_t>(k / losses)) == &local.full.slices;
    const std::vector<int>& owners = is_full ? full : last;
    return k % losses < owners.size() ? owners[k % losses] : 0;  // a short step has fewer
  });
  share_entries(run.processes, std::span(local.times).first(steps * replicas),
                [&](std::size_t k) { return run.placement.process_of(static_cast<int>(k % replicas)); });
  share_by_replica(run, local.not_finite);
  share_stop(run);
}

/// The leader's, after a round: the run ends with what was not finite first by step and worker, whoever was first by
/// the clock.
void LocalSgdStrategy::stop_where_not_finite(Run& run) const {
  const NotFiniteStep* first = nullptr;
  for (const std::optional<NotFiniteStep>& found : local_->not_finite) {
    if (found && (first == nullptr || found->step < first->step ||
                  (found->step == first->step && found->worker < first->worker)))
      first = &*found;
  }
  if (first == nullptr) return;
  FaultReport report{.kind = "not_finite", .action = {}, .step = first->step, .replica = first->replica};
  report.micro_batch = first->micro_batch;
  report.message = fmt::format("the {} is not finite at {}, micro-batch {} of worker {} on replica {}",
                               first->loss ? "loss" : "gradient", run.progress->place(first->step, run.lr(first->step)),
                               first->micro_batch, first->worker, first->replica);
  if (first->loss) run.progress->diverged();
  decide(run, std::move(report), steady_seconds(), false);  // to stop: the spec allows nothing else in this mode
}

/// The leader's, after an average: the steps of the round, each at the time at which it was done here.
void LocalSgdStrategy::tell(Run& run, std::int64_t first, std::int64_t end) const {
  local_->told(end - 1 - first).end = steady_seconds();  // averaging is part of the last
  for (std::int64_t step = first; step < end; ++step) {
    const ToldStep told = local_->told(step - first);
    run.losses.assign(told.losses.begin(), told.losses.end());
    run.times.assign(told.times.begin(), told.times.end());
    run.progress->stepped(step, run.lr(step), run.schedule.plan(step), run.losses, run.times);
    run.progress->report_if_due(step + 1, run.end, told.end);
  }
}

/// What is due at the average after `step` steps, the one before being that of `before`: evaluation and checkpoint.
void LocalSgdStrategy::at_average(Run& run, int rank, Replica& replica, std::int64_t before, std::int64_t step) const {
  const bool evaluates = falls_due(before, step, run.evaluate_every) || step == run.end;
  // On a request to stop what was reached comes to the disk before anything else.
  const bool stopped = step == run.end && step < run.schedule.steps();
  const bool saves = stopped || falls_due(before, step, run.checkpoint_every);
  if (saves || evaluates) run.group.barrier([this] { exchange_->gather_states(); });
  if (run.leads(rank) && stopped) save(run, replica.parameters(), step);
  if (evaluates && !run.options.until) {
    replica.bind_host(local_->workers.average_weights());
    evaluate(run, replica, rank, step);
  }
  if (run.leads(rank) && saves && !stopped && step < run.end) save(run, replica.parameters(), step);
  run.group.barrier();  // the next local steps change what is saved
}

void LocalSgdStrategy::run(Run& run, int rank, Replica& replica) {
  std::int64_t step = run.first;
  if (begins_in_sync(run)) {
    run_sync(run, rank, replica, local_->rounds.warmup);
    if (run.end <= local_->rounds.warmup) return;
    step = local_->rounds.warmup;
    run.group.barrier();  // nobody is at the last synchronous step any more
  }
  if (run.leads(rank)) set_out(run, step);
  run.group.barrier();
  // A run that was stopped after its last step and before the evaluation.
  if (run.first == run.end && run.options.checkpoints.resume_from->snapshot.state.evaluated_step != run.end) {
    replica.bind_host(local_->workers.average_weights());
    evaluate(run, replica, rank, run.end);
  }
  LocalSteps steps(run, *local_, rank, replica, step);
  while (step < run.end) {
    const std::int64_t end = std::min(local_->rounds.last(step), run.end);
    take_round(run, rank, steps, step, end);
    if (run.leads(rank)) tell(run, step, end);
    at_average(run, rank, replica, step, end);
    step = end;
  }
}

void LocalSgdStrategy::summarise(Summary& summary) const {
  if (!local_) return;
  summary.local_sgd = {
      .workers = local_->spec.workers, .sync_every = local_->spec.sync_every, .averages = local_->averages};
}

}  // namespace

std::unique_ptr<UpdateStrategy> make_local_sgd_strategy() {
  return std::make_unique<LocalSgdStrategy>();
}

}  // namespace dptrain

#include "train/async/async_run.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/clock.h"
#include "core/error.h"
#include "train/async/executor.h"
#include "train/async/hosts/proxies.h"
#include "train/async/hosts/share_parts.h"
#include "train/evaluate.h"

namespace dptrain {

namespace {

/// The weights as they are, and how old.
void read_weights(Run& run, AsyncRun& async, Executor& me, const Dispatcher::Work& work,
                  std::vector<std::int64_t>& read) {
  const std::span<std::int64_t> all(read);
  async.store->pull(me.weights(), work.version, all.first(async.store->shards()));
  me.read_other_parts(work, all.subspan(async.store->shards()));
  async.dispatcher->pulled(work, *std::min_element(read.begin(), read.end()));
  if (run.options.weights_read)
    run.options.weights_read(me.rank(), work.index, [&run] { return run.group.error() != nullptr; });
}

/// A micro-batch has ended; without a loss it was left out. Under `reporting`.
void ended(Run& run, AsyncRun& async, std::int64_t index, const LossSum* loss) {
  run.progress->micro_batch_ended(async.places.samples(index));
  async.collector->ended(async.places.at(index), loss, steady_seconds());
}

/// What the job says should be done about a gradient that is of no use. Errors: what ends the run.
void leave_out(Run& run, AsyncRun& async, const Executor& me, const Dispatcher::Work& work, bool loss_is_finite) {
  const double began = steady_seconds();
  const int rank = me.rank();
  const FaultsSpec& policy = run.job.faults;
  const MicroBatchPlace place = async.places.at(work.index);
  const Parameter* const found = me.not_finite(work);
  const std::string parameter = found == nullptr ? std::string() : found->name;
  async.dispatcher->withdraw(work);
  const std::lock_guard lock(async.reporting);
  FaultReport report{.kind = "not_finite",
                     .action = "skip",
                     .step = place.step,
                     .replica = rank,
                     .micro_batch = place.micro_batch,
                     .parameter = parameter};
  report.message = fmt::format("{} is not finite at {}, micro-batch {} on replica {}",
                               loss_is_finite ? fmt::format("the gradient of {}", parameter) : std::string("the loss"),
                               run.progress->place(place.step, async.rate()), place.micro_batch, rank);
  if (policy.on_nan != OnNan::skip || run.skips_in_a_row >= policy.max_skips) {
    report.action = "stop";
    const bool skips = policy.on_nan == OnNan::skip;
    if (skips)
      report.message += fmt::format(", after {} in a row that were left out (faults.max_skips)", run.skips_in_a_row);
    report.message +=
        ": training has diverged. A lower learning rate, warm-up (train.lr_schedule.warmup_steps), clipping "
        "(train.clip_grad_norm) or a bound (async.max_staleness) may help";
    report.message += skips ? "." : "; faults.on_nan can skip such a gradient.";
    run.reporter.record(report);
    run.faults.note(report, began);
    if (!loss_is_finite) run.progress->diverged();
    throw Error(ExitStatus::failed, report.message);
  }
  ++run.skips_in_a_row;
  report.message += fmt::format(": it is left out ({} in a row, at most {})", run.skips_in_a_row, policy.max_skips);
  run.reporter.fault(report);
  run.faults.note(std::move(report), began);
  ended(run, async, work.index, nullptr);
}

/// The version that was closed is applied everywhere.
void apply(AsyncRun& async, const Dispatcher::Pushed& closed) {
  async.store->apply(closed.deposit.version);
  if (async.commands) async.commands->wait(closed.elsewhere);
  async.dispatcher->give_back(closed.buffers);
  if (async.record) async.record->version(closed.deposit.version, closed.rate);
}

/// The gradient goes to the store; seconds spent waiting and in additions and updates.
StepTimes push(AsyncRun& async, const Dispatcher::Work& work, const std::vector<std::int64_t>& read) {
  StepTimes times;
  const double start = steady_seconds();
  const auto pushed = async.dispatcher->push(work);
  const double admitted = steady_seconds();
  if (pushed.deposit.closes) apply(async, pushed);
  if (async.record) {
    RecordedGradient gradient{.index = work.index, .ticket = pushed.ticket, .read = read, .lag = pushed.deposit.lag};
    if (!pushed.deposit.dropped) gradient.version = pushed.deposit.version;
    gradient.scale = pushed.deposit.scale;
    async.record->gradient(gradient);
  }
  times.wait = admitted - start - pushed.adding;
  times.reduce = steady_seconds() - admitted + pushed.adding;
  return times;
}

/// Micro-batches until the next rest.
void work(Run& run, AsyncRun& async, Executor& me) {
  std::vector<std::int64_t> read(async.shards());  // version of each shard of the weights
  for (;;) {
    if (stop_asked(run.options.stop)) async.dispatcher->stop();
    const double start = steady_seconds();
    const std::optional<Dispatcher::Work> work = async.dispatcher->next();
    if (!work) return;
    const double begun = steady_seconds();
    double pulling = 0;
    const auto pull = [&] {
      const double asked = steady_seconds();
      read_weights(run, async, me, *work, read);
      pulling = steady_seconds() - asked;
    };
    const Replica::Gradient gradient = me.gradient(*work, std::ref(pull));
    if (!gradient.is_finite()) {
      leave_out(run, async, me, *work, std::isfinite(gradient.loss.loss));
      continue;
    }
    const StepTimes pushed = push(async, *work, read);
    const std::lock_guard lock(async.reporting);
    StepTimes& times = run.times[static_cast<std::size_t>(me.rank())];
    times.data += gradient.data;
    times.compute += gradient.compute;
    times.reduce += pulling + pushed.reduce;
    times.wait += begun - start + pushed.wait;
    run.skips_in_a_row = 0;
    ended(run, async, work->index, &gradient.loss);
  }
}

void fall_back(Run& run, AsyncRun& async) {
  const auto micro_batches = static_cast<std::int64_t>(run.schedule.full().micro_batches.size());
  async.fallback_step = async.reached;
  async.fallback_version = async.dispatcher->version();
  async.dispatcher->change_rules(synchronous_rules(micro_batches));
  async.rates.fall_back(async.fallback_version, micro_batches);
  if (async.record) async.record->fallback(async.fallback_step, async.fallback_version);
  run.reporter.warning(fmt::format(
      "the training loss is above {:g} (async.fallback): from step {} on all micro-batches of a step make one version",
      *run.job.async.fallback_loss_above, async.fallback_step));
}

/// The first process's, when every micro-batch that was begun is pushed.
void settle_store(Run& run, AsyncRun& async) {
  if (const auto last = async.dispatcher->close_short()) apply(async, *last);
  async.segment = async.dispatcher->begun();
  async.reached = async.places.at(async.segment).step;
  if (stop_agreed(run)) {
    run.end = std::min(run.end, async.reached);
    run.progress->report_if_due(async.reached, run.end, steady_seconds());
  }
  if (async.loss_is_above && async.reached < run.end) fall_back(run, async);
  async.loss_is_above = false;
  if (async.record) async.record->sync();  // a checkpoint may follow, and counts on it
}

/// The leaders', when all replicas are at rest: what the first process has come to is what all go on from.
void settle(Run& run, AsyncRun& async) {
  struct Rest {
    std::int64_t reached, end;
  };
  share_stop(run);
  if (async.dispatcher) settle_store(run, async);
  const Rest mine{async.reached, run.end};
  std::vector<Rest> all(static_cast<std::size_t>(run.processes.size()));
  run.processes.all_gather(&mine, sizeof mine, all.data());
  async.reached = all.front().reached;
  run.end = all.front().end;
  share_weights(run, async);
  if (run.saves()) gather_state(run, async);
}

}  // namespace

AsyncRun::AsyncRun(const Run& run)
    : places(run.schedule),
      rests(rests_of(run.job, run.schedule)),
      per_version(gradients_per_version(run.job.async, run.schedule)),
      rates(run.job, places, rests, per_version) {}

const StorePlace* AsyncRun::kept_by(int process) const {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const StorePlace& part) { return part.process == process; });
  return found == parts.end() ? nullptr : &*found;
}

double AsyncRun::norm(std::int64_t version, const std::vector<double>& squares) {
  if (commands) return commands->norm(version, squares);
  return server ? server->norm(squares) : norm_of(version, squares);
}

std::int64_t AsyncRun::stop_at(std::int64_t next) const {
  const MicroBatchPlace place = places.at(next);
  return place.micro_batch == 0 && next > segment ? next : places.first_of(place.step + 1);
}

void step_done(Run& run, AsyncRun& async, std::int64_t step, const StepCollector::Step& done) {
  run.progress->stepped(step, async.rate(), run.schedule.plan(step), done.losses, run.times, done.skipped);
  std::fill(run.times.begin(), run.times.end(), StepTimes());
  if (!run.faults.list().empty()) {
    for (const FaultReport& report : run.faults.recovered(step, steady_seconds())) run.reporter.recovered(report);
  }
  run.progress->set_async(report_of(async));
  const bool reported = run.progress->report_if_due(step + 1, run.end, done.end);
  const std::optional<double>& above = run.job.async.fallback_loss_above;
  if (!reported || !above || async.fallen_back() || !(run.progress->interval_loss() > *above)) return;
  async.loss_is_above = true;
  async.dispatcher->stop();
}

LedgerRules rules_of(const AsyncSpec& spec, std::int64_t per_version) {
  return {.per_version = per_version, .bound = spec.max_staleness, .on_stale = spec.on_stale};
}

LedgerRules synchronous_rules(std::int64_t micro_batches) {
  return {.per_version = micro_batches, .bound = 0, .on_stale = OnStale::wait};
}

AsyncReport report_of(const AsyncRun& async) {
  const StalenessCounts counts = async.dispatcher->counts();
  return {.versions = async.dispatcher->version(),
          .max_staleness = counts.max,
          .mean_staleness = counts.mean(),
          .histogram = counts.histogram,
          .dropped = counts.dropped,
          .skipped = counts.skipped,
          .fallback_step = async.fallback_step};
}

void run_async(Run& run, AsyncRun& async, int rank, Replica& replica) {
  std::unique_ptr<Executor> me;
  std::optional<Proxies> proxies;
  if (async.dispatcher) me = make_executor(run, async, rank, replica);
  if (async.dispatcher && run.leads(rank)) proxies.emplace(run, async);
  std::int64_t step = run.first;
  // A run that was stopped after its last step and before the evaluation.
  if (run.first == run.end && run.options.checkpoints.resume_from->snapshot.state.evaluated_step != run.end)
    evaluate(run, replica, rank, run.end);
  while (step < run.end) {
    if (async.dispatcher && run.leads(rank))
      async.dispatcher->open(async.places.first_of(std::min(run.end, async.rests.after(step))));
    run.group.barrier();
    try {
      if (proxies) proxies->start([&](Executor& executor) { work(run, async, executor); });
      if (me)
        work(run, async, *me);
      else
        serve(run, async, rank, replica);
    } catch (const GroupAborted&) {
      throw;
    } catch (...) {
      // Before the proxies are given up: they would take the end of their connections for the reason.
      run.group.abort(std::current_exception());
      throw;
    }
    if (proxies) proxies->join();
    run.group.barrier();
    if (run.leads(rank)) settle(run, async);
    run.group.barrier();
    step = async.reached;
    replica.bind_host(run.weights->parameters(rank));
    between_steps(run, replica, rank, step);
  }
}

}  // namespace dptrain

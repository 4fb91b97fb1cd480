#include "train/async/async_strategy.h"

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "spec/reader.h"
#include "train/async/async_run.h"
#include "train/async/hosts/run_connections.h"
#include "train/async/record/continued_record.h"
#include "train/async/store/store_holder.h"
#include "train/batch_names.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

constexpr std::int64_t kShardsAReplica = 4;

[[noreturn]] void refuse(const SourceMark& at, const std::string& message, const std::string& hint) {
  throw Error(ExitStatus::usage, fmt::format("{}  hint: {}", complaint(at, message), hint));
}

/// As the checkpoint has it that the run goes on from.
AsyncState state_before(const Run& run) {
  const auto& checkpoint = run.options.checkpoints.resume_from;
  return checkpoint ? checkpoint->snapshot.state.async.value_or(AsyncState()) : AsyncState();
}

class AsyncStrategy final : public UpdateStrategy {
 public:
  void check(const JobSpec& job, const Placement& placement, const RunSchedule& schedule) const override {
    check_faults_fit(job, placement);
    check_elementwise(job);
    if (job.faults.on_nan == OnNan::rollback)
      refuse(job.faults.on_nan_at, "faults.on_nan: rollback is for mode sync; in async there are stop and skip",
             "--set faults.on_nan=stop is for every mode");
    if (job.faults.on_replica_failure != OnReplicaFailure::stop)
      refuse(job.faults.on_replica_failure_at, "faults.on_replica_failure: continue is for mode sync",
             "--set faults.on_replica_failure=stop is for every mode");
    const auto micro_batches = static_cast<std::int64_t>(schedule.full().micro_batches.size());
    if (job.async.max_staleness == 0 && gradients_per_version(job.async, schedule) != micro_batches)
      refuse(job.async.updates_per_apply_at,
             fmt::format("async.updates_per_apply: max_staleness 0 makes a version of a whole step, which has {} "
                         "micro-batches here",
                         micro_batches),
             "leave it to auto");
  }

  void configure(const Run& run, Replica::Config& config) const override {
    config.steps = false;
    config.single_sizes = run.schedule.batch_sizes();
  }

  WeightsHolder& hold(Run& run, std::int64_t floats) override {
    before_ = state_before(run);
    async_ = std::make_unique<AsyncRun>(run);
    async_->memory.emplace(run, floats, most_gradients(run));
    async_->parts = places_of_parts(floats, shards(run, floats), run.processes.hosts());
    const StorePlace* const kept = async_->kept_by(run.processes.rank());
    if (kept != nullptr) make_store(run, floats, static_cast<int>(kept - async_->parts.data()));
    if (run.processes.rank() == 0 && async_->parts.size() > 1) {
      for (int k = 0; k < state_buffers(run.job.train.optimizer); ++k)
        async_->states.push_back(Buffer::host_floats(floats));
    }
    float* weights = async_->store ? async_->store->weights() : async_->memory->weights().floats();
    async_->weights = {weights, static_cast<std::size_t>(floats)};
    holder_ = std::make_unique<StoreHolder>(*async_, run.processes.first_of_host());
    return *holder_;
  }

  void start(Run& run) override {
    AsyncRun& async = *async_;
    async.segment = async.places.first_of(run.first);
    if (run.replicas[static_cast<std::size_t>(run.here.first)]->needs_batches()) async.loader = make_loader(run);
    open_connections(run, async, before_.version, most_gradients(run));
    if (run.processes.rank() == 0) make_dispatcher(run);
  }

  void join(Run& run, int rank, Replica& replica) override { replica.bind_host(run.weights->parameters(rank)); }
  void run(Run& run, int rank, Replica& replica) override { run_async(run, *async_, rank, replica); }
  void abandon(Run&) noexcept override {
    if (async_->dispatcher) async_->dispatcher->abandon();
    if (async_->commands) async_->commands->cut();
    if (async_->server) async_->server->cut();
    for (const std::unique_ptr<Connection>& connection : async_->connections)
      if (connection) connection->cut();
  }
  void end(Run&) noexcept override {
    if (async_ && async_->commands) async_->commands->end();
    if (async_ && async_->server) async_->server->end();
  }

  double rate(const Run&, std::int64_t) const override {
    if (async_->dispatcher) return async_->rate();
    return async_->rates.rate(before_.version, before_.staleness.dropped + before_.staleness.skipped);
  }
  bool reproducible(const JobSpec& job) const override {
    return job.reproducible && job.async.max_staleness == 0 && job.async.on_stale != OnStale::drop;
  }
  void describe(RunState& state) const override {
    if (!async_->dispatcher) {  // before the first step
      state.async = before_;
      return;
    }
    state.async = AsyncState{.version = async_->dispatcher->version(),
                             .staleness = async_->dispatcher->counts(),
                             .fallback_step = async_->fallback_step,
                             .fallback_version = async_->fallback_version,
                             .recorded_from = recorded_from_};
  }
  void summarise(Summary& summary) const override {
    if (async_ && async_->dispatcher) summary.async = report_of(*async_);
  }

 private:
  static bool records(const Run& run) { return run.job.async.record && run.publishes(); }

  /// The rules as the run begins: a run that fell back before goes on as one that did.
  LedgerRules first_rules(const Run& run) const {
    if (before_.fallback_step < 0) return rules_of(run.job.async, async_->per_version);
    return synchronous_rules(static_cast<std::int64_t>(run.schedule.full().micro_batches.size()));
  }

  std::int64_t most_gradients(const Run& run) const {
    const bool skips = run.job.faults.on_nan == OnNan::skip;
    std::int64_t most = gradient_buffers(first_rules(run), skips, run.placement.replicas);
    if (!run.job.async.fallback_loss_above) return most;
    const auto micro_batches = static_cast<std::int64_t>(run.schedule.full().micro_batches.size());
    return std::max(most, gradient_buffers(synchronous_rules(micro_batches), skips, run.placement.replicas));
  }

  /// The most there may be: as the first process says, which sees whether a record is to go on with as many as it has.
  std::int64_t shards(const Run& run, std::int64_t floats) {
    std::int64_t wanted = run.job.async.shards.value_or(kShardsAReplica * run.placement.replicas);
    if (records(run)) continued_ = continued_record(run, before_, floats);
    if (continued_.header) wanted = continued_.header->shards;
    std::vector<std::int64_t> all(static_cast<std::size_t>(run.processes.size()));
    run.processes.all_gather(&wanted, sizeof wanted, all.data());
    return all.front();
  }

  void make_store(Run& run, std::int64_t floats, int part) {
    const int parts = static_cast<int>(async_->parts.size());
    StoreConfig config{.floats = floats,
                       .state_buffers = state_buffers(run.job.train.optimizer),
                       .ranges = run.update_plan.ranges,
                       .shards = static_cast<std::int64_t>(async_->shards()),
                       .part = {part, parts},
                       .version = before_.version,
                       .most_at_once = run.placement.replicas,
                       .clip_norm = run.job.train.clip_norm,
                       .norm = std::bind_front(&AsyncRun::norm, async_.get()),
                       .allocate = [this](std::size_t) { return async_->memory->weights(); }};
    if (run.options.shard_read)
      config.shard_read = [&run](std::size_t shard) {
        run.options.shard_read(shard, [&run] { return run.group.error() != nullptr; });
      };
    async_->store =
        run.job.async.updates == StoreUpdates::locked ? make_locked_store(config) : make_hogwild_store(config);
  }

  void make_dispatcher(Run& run) {
    AsyncRun& async = *async_;
    const LedgerRules rules = first_rules(run);
    if (before_.fallback_step >= 0) {
      async.fallback_step = before_.fallback_step;
      async.fallback_version = before_.fallback_version;
      async.rates.fall_back(before_.fallback_version, rules.per_version);
    }
    async.dispatcher = std::make_unique<Dispatcher>(
        DispatcherConfig{.rules = rules,
                         .version = before_.version,
                         .next = async.segment,
                         .replicas = run.placement.replicas,
                         .skips = run.job.faults.on_nan == OnNan::skip,
                         .counts = before_.staleness,
                         .samples = [&async](std::int64_t index) { return async.places.samples(index); },
                         .rate = [&async](std::int64_t version,
                                          std::int64_t left_out) { return async.rates.rate(version, left_out); },
                         .rule = [&run](std::int64_t version,
                                        double rate) { return rule_of(run.job.train.optimizer, version, rate); },
                         .stop_at = [&async](std::int64_t next) { return async.stop_at(next); },
                         .allocate = [&async, next = 0](std::size_t) mutable { return async.memory->gradient(next++); },
                         .others = async.commands.get()},
        *async.store);
    async.collector.emplace(
        run.schedule, run.first,
        [&run, &async](std::int64_t step, const StepCollector::Step& done) { step_done(run, async, step, done); });
    run.progress->count_micro_batches(run.placement.replicas * run.schedule.largest_batch());
    if (records(run)) begin_record(run, before_);
  }

  std::unique_ptr<SharedLoader> make_loader(const Run& run) const {
    const std::int64_t end = async_->places.first_of(run.schedule.steps());
    // Which micro-batches come to this process is not known beforehand where there are others: each is loaded when it
    // comes.
    const int workers = run.processes.alone() ? loader_workers(run) * run.group.size() : 0;
    const auto name = [&run, &places = async_->places, end,
                       names = BatchNames(run.job, run.schedule, run.data.train->size())](
                          std::int64_t index, std::span<std::int64_t> ids) -> Loader::Named {
      if (index >= end) return 0;
      const MicroBatchPlace place = places.at(index);
      const StepPlan& plan = run.schedule.plan(place.step);
      return names.name(place.step, plan.micro_batches[static_cast<std::size_t>(place.micro_batch)], ids);
    };
    return std::make_unique<SharedLoader>(*run.data.train, name,
                                          SharedLoader::Config{.first = async_->segment,
                                                               .largest_batch = run.schedule.largest_batch(),
                                                               .readers = run.group.size(),
                                                               .ahead = run.job.data.prefetch * run.group.size(),
                                                               .workers = workers,
                                                               .allocate = run.backend->host_allocator()});
  }

  void begin_record(Run& run, const AsyncState& before) {
    const auto file = record_file(run.options.checkpoints.run_folder);
    if (continued_.header) {
      recorded_from_ = continued_.header->step;
      async_->record = std::make_unique<RecordWriter>(file, run.first, before.version);
      return;
    }
    recorded_from_ = run.first;
    if (run.first > 0)
      run.reporter.warning(fmt::format(
          "async.record: {1}{2}what the run did before step {0} is not recorded: the record begins there, and "
          "`dptrain replay` with it, from checkpoints/step-{0}, which is kept",
          run.first, continued_.reason, continued_.reason.empty() ? "" : ": "));
    const RecordHeader header{.job = hash_of_text(weights_yaml(run.job)),
                              .weights = run.replicas.front()->parameters().hash(async_->store->weights()),
                              .floats = async_->store->floats(),
                              .shards = static_cast<std::int64_t>(async_->shards()),
                              .micro_batch = micro_batch_size(run.job, run.placement.replicas),
                              .step = run.first,
                              .version = before.version,
                              .pushed = before.staleness.gradients + before.staleness.dropped};
    async_->record = std::make_unique<RecordWriter>(file, header);
  }

  AsyncState before_;
  ContinuedRecord continued_;
  std::int64_t recorded_from_ = -1;
  std::unique_ptr<AsyncRun> async_;
  std::unique_ptr<StoreHolder> holder_;
};

}  // namespace

std::unique_ptr<UpdateStrategy> make_async_strategy() {
  return std::make_unique<AsyncStrategy>();
}

}  // namespace dptrain

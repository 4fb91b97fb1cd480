// How a run begins, and what a checkpoint keeps of it.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "core/magnitude.h"
#include "core/process.h"
#include "data/fingerprint.h"
#include "spec/reader.h"
#include "train/checkpoint/first_weights.h"
#include "train/run.h"

namespace dptrain {

namespace {

/// Whether a run of more steps has other learning rates from the start.
bool rests_on_length(const ScheduleSpec& schedule) {
  return std::holds_alternative<CosineSchedule>(schedule.shape) ||
         std::holds_alternative<LinearSchedule>(schedule.shape) ||
         std::holds_alternative<OneCycleSchedule>(schedule.shape);
}

bool may_roll_back(const Run& run) {
  return run.job.faults.on_nan == OnNan::rollback;
}

/// Of all state that a checkpoint holds: the run's own, then what the mode has beside it.
std::vector<std::string> state_names(const Run& run) {
  std::vector<std::string> names = run.state_names;
  for (const NamedState& state : run.more_state) names.push_back(state.name);
  return names;
}

/// Parameters, and as many buffers of state as there are names, all zero.
std::vector<Buffer> empty_copies(const Run& run, const ParameterTable& table) {
  std::vector<Buffer> copies;
  for (std::size_t k = 0; k <= state_names(run).size(); ++k) copies.push_back(Buffer::host_floats(table.floats()));
  return copies;
}

StateCopies copies_of(const Run& run, const ParameterTable& table) {
  std::vector<Buffer> copies = empty_copies(run, table);
  run.weights->save(copies.front().floats());
  const std::size_t own = run.state_names.size();
  for (std::size_t k = 0; k + 1 < copies.size(); ++k) {
    if (k < own)
      run.weights->save_state(static_cast<int>(k), copies[k + 1].floats());
    else
      run.more_state[k - own].save(copies[k + 1].floats());
  }
  return std::make_shared<const std::vector<Buffer>>(std::move(copies));
}

void load_state(Run& run, const std::vector<Buffer>& copies) {
  run.weights->load(copies.front().floats());
  const std::size_t own = run.state_names.size();
  for (std::size_t k = 0; k + 1 < copies.size(); ++k) {
    if (k < own)
      run.weights->load_state(static_cast<int>(k), copies[k + 1].floats());
    else
      run.more_state[k - own].load(copies[k + 1].floats());
  }
}

/// Errors: failed where something is not finite: nothing of that kind is ever saved.
void check_finite(const Run& run, const ParameterTable& table, const std::vector<Buffer>& copies, std::int64_t step) {
  for (std::size_t k = 0; k < copies.size(); ++k) {
    if (std::isfinite(largest_magnitude(copies[k].floats(), table.floats()))) continue;
    fail(ExitStatus::failed, "after {} the {} are not finite: training has diverged, and they are not saved",
         run.progress->place(step, run.strategy->rate(run, step)),
         k == 0 ? "parameters" : "optimizer's " + state_names(run)[k - 1]);
  }
}

Checkpointer::Make snapshot_of(Run& run, const ParameterTable& table, StateCopies copies, std::int64_t step) {
  return [&table, copies = std::move(copies), names = state_names(run), state = state_at(run, step)]() mutable {
    omp_set_num_threads(1);  // packing is no work for a team
    std::vector<const float*> states;
    for (std::size_t k = 1; k < copies->size(); ++k) states.push_back((*copies)[k].floats());
    return take_snapshot(table, copies->front().floats(), names, states, std::move(state));
  };
}

/// Parameters and state of a checkpoint, flat.
StateCopies restored(const Run& run, const ParameterTable& table, const Checkpoint& checkpoint) {
  std::vector<Buffer> copies = empty_copies(run, table);
  std::vector<float*> states;
  for (std::size_t k = 1; k < copies.size(); ++k) states.push_back(copies[k].floats());
  checkpoint.restore(table, copies.front().floats(), state_names(run), states);
  return std::make_shared<const std::vector<Buffer>>(std::move(copies));
}

/// Before the first step, from nothing but the job.
StateCopies initial_state(const Run& run, const ParameterTable& table) {
  const CheckpointOptions& options = run.options.checkpoints;
  if (options.init_from.empty() && !options.first_weights.empty())
    fail(ExitStatus::failed, "the run began with the weights of a file, and checkpoints/step-0 is missing");
  std::vector<Buffer> copies = empty_copies(run, table);
  if (options.init_from.empty())
    seed_weights(table, run.job.seed, *run.data.train, copies.front().floats());
  else
    init_from(options.init_from, table, copies.front().floats());
  // The average begins as the weights do; the first update takes its place.
  if (run.job.train.ema) std::memcpy(copies.back().data(), copies.front().data(), copies.front().size());
  return std::make_shared<const std::vector<Buffer>>(std::move(copies));
}

/// The points that the run had when its checkpoint was made.
void restore_points(Run& run, const ParameterTable& table, const Checkpoint& checkpoint, const StateCopies& latest) {
  const RunState& state = checkpoint.snapshot.state;
  for (const std::int64_t step : state.rollback_steps) {
    const std::filesystem::path folder = checkpoint.folder.parent_path() / fmt::format("step-{}", step);
    try {
      run.rollback_points.push(step, step == state.step             ? latest
                                     : step == 0 && !exists(folder) ? initial_state(run, table)
                                                                    : restored(run, table, read_checkpoint(folder)));
    } catch (const Error& error) {
      run.reporter.warning(fmt::format("a rollback cannot go back to step {}: {}", step, error.what()));
    }
  }
  run.rollback_points.set_failed_at(state.failed_at);
  if (run.rollback_points.steps().empty()) run.rollback_points.push(state.step, latest);
}

}  // namespace

Run::Run(const JobSpec& job_, const DatasetPair& data_, Reporter& reporter_, const TrainOptions& options_,
         Communicator& processes_, Placement placement_)
    : job(job_),
      data(data_),
      reporter(reporter_),
      options(options_),
      processes(processes_),
      placement(std::move(placement_)),
      here(placement.replicas_of(processes.rank())),
      group(here.count(), &processes),
      schedule(job_, data_.train->size(), placement.replicas),
      assignment(equal_shares(schedule, placement.replicas)),
      state_names(dptrain::state_names(job_.train.optimizer)),
      learning_rate(job_.train.schedule, base_lr(job_.train.optimizer), schedule.steps(), schedule.steps_per_epoch(),
                    lr_scale(job_.train, job_.train.global_batch_size)),
      strategy(make_strategy(job_)),
      replicas(static_cast<std::size_t>(placement.replicas)),
      losses(schedule.full().micro_batches.size()),
      test_sums(static_cast<std::size_t>((data_.test->size() + evaluation_chunk(schedule, data_.test->size()) - 1) /
                                         evaluation_chunk(schedule, data_.test->size()))),
      evaluated(static_cast<std::size_t>(placement.replicas)),
      evaluate_every(job_.evaluate.every ? schedule.steps_of(*job_.evaluate.every) : schedule.steps()),
      checkpoint_every(job_.checkpoint.every ? schedule.steps_of(*job_.checkpoint.every) : schedule.steps()),
      first(options_.checkpoints.resume_from ? options_.checkpoints.resume_from->snapshot.state.step : 0),
      times(static_cast<std::size_t>(placement.replicas)),
      busy(static_cast<std::size_t>(placement.replicas)),
      end(std::min(schedule.steps(), options_.until.value_or(schedule.steps()))),
      backend(make_backend(job_, placement, schedule, processes)),
      faults(placement.replicas),
      drills(job_.drills, [this] { return group.error() != nullptr; }),
      not_finite(static_cast<std::size_t>(placement.replicas)),
      finite(static_cast<std::size_t>(placement.replicas)),
      step_status(placement, schedule) {
  if (job.train.ema) state_names.emplace_back(kAverage);
  if (job.balance == Balance::automatic && placement.replicas > 1) balancer.emplace(placement.replicas);
}

int loader_workers(const Run& run) {
  const std::int64_t batch_floats = run.schedule.largest_batch() * run.data.train->shape().elements();
  return loader_workers(run.job, run.group.size(), batch_floats, run.data.train->is_costly());
}

void share_stop(Run& run) {
  const int mine = run.options.stop == nullptr ? 0 : run.options.stop->load(std::memory_order_relaxed);
  std::vector<int> all(static_cast<std::size_t>(run.processes.size()));
  run.processes.all_gather(&mine, sizeof mine, all.data());
  agree_to_stop(run, all);
}

void agree_to_stop(Run& run, std::span<const int> signals) {
  if (run.stop != 0) return;
  const auto asked = std::find_if(signals.begin(), signals.end(), [](int signal) { return signal != 0; });
  if (asked == signals.end()) return;
  run.stop = *asked;
  if (run.options.stopped) run.options.stopped(run.stop);
}

bool stop_agreed(const Run& run) {
  return run.processes.alone() ? stop_asked(run.options.stop) : run.stop != 0;
}

RunState state_at(Run& run, std::int64_t step) {
  RunState state;
  state.step = step;
  state.seed = run.job.seed;
  state.job = weights_yaml(run.job);
  state.basis = run.basis;
  state.train_samples = run.data.train->size();
  run.progress->describe(state);
  // The better of two is kept: by accuracy where there is one, by loss otherwise; NaN compares as worse.
  const Tested tested = that_counts(state);
  const double metric = std::isnan(tested.accuracy) ? -tested.loss : tested.accuracy;
  if (state.evaluated_step == step && (run.best_step < 0 || metric > run.best_metric || std::isnan(run.best_metric))) {
    run.best_step = step;
    run.best_metric = metric;
  }
  state.best_step = run.best_step;
  state.best_metric = run.best_metric;
  state.lr_factor = run.lr_factor;
  state.rollbacks = run.rollbacks;
  state.skipped_steps = run.summary.skipped_steps;
  state.skips_in_a_row = run.skips_in_a_row;
  if (run.reducer) {
    if (const std::optional<LossScale> scale = run.reducer->loss_scale()) state.loss_scale = state_of(*scale);
  }
  run.strategy->describe(state);
  state.rollback_steps = run.rollback_points.steps();
  state.failed_at = run.rollback_points.failed_at();
  state.spoilt = run.drills.spoilt();
  return state;
}

Checkpointer::Make snapshot(Run& run, const ParameterTable& table, std::int64_t step) {
  StateCopies copies = copies_of(run, table);
  check_finite(run, table, *copies, step);
  return snapshot_of(run, table, std::move(copies), step);
}

void save(Run& run, const ParameterTable& table, std::int64_t step) {
  if (run.saved_step == step) return;
  const bool point = may_roll_back(run) && step % run.checkpoint_every == 0;
  if (run.saves()) run.weights->gather_state();
  if (!point && !run.checkpointer) {
    run.saved_step = step;
    return;
  }
  StateCopies copies = copies_of(run, table);
  check_finite(run, table, *copies, step);
  run.saved_step = step;
  if (point) run.rollback_points.push(step, copies);
  if (run.checkpointer) run.checkpointer->save(snapshot_of(run, table, std::move(copies), step));
}

bool state_is_finite(const Run& run, const ParameterTable& table) {
  const StateCopies copies = copies_of(run, table);
  return std::all_of(copies->begin(), copies->end(), [&](const Buffer& buffer) {
    return std::isfinite(largest_magnitude(buffer.floats(), table.floats()));
  });
}

void go_back_to(Run& run, const RollbackPoints::Point& point) {
  run.saved_step = -1;  // what comes after it is saved anew
  load_state(run, *point.copies);
  run.rollback_step = point.step;
}

void set_up_weights(Run& run, const ParameterTable& table) {
  const CheckpointOptions& options = run.options.checkpoints;
  StateCopies copies;
  if (options.resume_from) {
    run.first_weights = options.first_weights;
    const RunState& state = options.resume_from->snapshot.state;
    copies = restored(run, table, *options.resume_from);
    run.best_step = state.best_step;
    run.best_metric = state.best_metric;
    run.lr_factor = state.lr_factor;
    run.rollbacks = state.rollbacks;
    run.summary.skipped_steps = state.skipped_steps;
    run.skips_in_a_row = state.skips_in_a_row;
    for (const auto& [step, replica] : state.spoilt) {
      // On whichever replica it is drilled now: that changes no bit.
      for (const DrillSpec& drill : run.job.drills)
        if (drill.at_step == step) run.drills.leave_out(DrillKind::nan, {step, drill.replica});
    }
    if (may_roll_back(run)) restore_points(run, table, *options.resume_from, copies);
    options.resume_from->snapshot.model.clear();  // memory that the run can use
    options.resume_from->snapshot.optimizer.clear();
    options.resume_from->snapshot.average.clear();
  } else {
    copies = initial_state(run, table);
    if (!options.init_from.empty()) run.first_weights = table.hash(copies->front().floats());
    if (may_roll_back(run)) run.rollback_points.push(0, copies);
  }
  if (const std::optional<RolledBack>& back = run.options.rolled_back) {
    run.lr_factor = back->lr_factor;
    run.rollbacks = back->rollbacks;
  }
  load_state(run, *copies);
}

Basis basis_of(const JobSpec& job, const DatasetPair& data) {
  return basis_of(job, data, place(job, data.train->size()));
}

Basis basis_of(const JobSpec& job, const DatasetPair& data, const Placement& placement) {
  const bool gpu = placement.type == DeviceType::cuda;
  Hash128 samples;
  add_samples(samples, *data.train);
  Basis basis{{"dptrain", version()},
              {"compiler", __VERSION__},
              {"devices", gpu ? placement.gpus.front().name : "cpu"},
              {"threads a replica", fmt::format("{}", job.devices.threads_per_replica)},
              {"samples a micro-batch", fmt::format("{}", micro_batch_size(job, placement.replicas))},
              {"training samples with the hash", samples.hex()}};
  if (rests_on_length(job.train.schedule)) {
    const RunSchedule schedule(job, data.train->size(), placement.replicas);
    basis.emplace_back("steps of the learning-rate schedule", fmt::format("{}", schedule.steps()));
  }
  for (auto& fact : device_basis(placement.type)) basis.push_back(std::move(fact));
  basis.emplace_back("C library", c_library());
  basis.emplace_back("build", program_hash());  // last: what else differs says more
  return basis;
}

}  // namespace dptrain

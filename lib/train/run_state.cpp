// How a run begins, and what a checkpoint keeps of it.
#include <fmt/format.h>
#include <omp.h>

#include <cmath>

#include "core/error.h"
#include "core/magnitude.h"
#include "report/process.h"
#include "spec/reader.h"
#include "train/run.h"

namespace dptrain {

namespace {

/// Whether a run of more steps has other learning rates from the start.
bool rests_on_length(const ScheduleSpec& schedule) {
  return std::holds_alternative<CosineSchedule>(schedule.shape) ||
         std::holds_alternative<LinearSchedule>(schedule.shape) ||
         std::holds_alternative<OneCycleSchedule>(schedule.shape);
}

/// The last checkpoint's weights and optimizer state, where the job may go back to them.
void keep_rollback_point(Run& run, const ParameterTable& table, std::int64_t step) {
  if (run.job.faults.on_nan != OnNan::rollback) return;
  RollbackPoint& point = run.rollback_point;
  point.step = step;
  point.state.resize(run.state_names.size());
  const auto keep = [&](Buffer& buffer) {
    if (buffer.size() == 0) buffer = Buffer::host_floats(table.floats());
    return buffer.floats();
  };
  run.reducer->save(keep(point.parameters));
  for (int k = 0; k < static_cast<int>(run.state_names.size()); ++k)
    run.reducer->save_state(k, keep(point.state[static_cast<std::size_t>(k)]));
}

}  // namespace

Run::Run(const JobSpec& job_, const DatasetPair& data_, Reporter& reporter_, const TrainOptions& options_,
         Placement placement_)
    : job(job_),
      data(data_),
      reporter(reporter_),
      options(options_),
      placement(std::move(placement_)),
      group(placement.replicas),
      schedule(job_, data_.train->size(), placement.replicas),
      assignment(equal_shares(schedule, placement.replicas)),
      optimizer(make_optimizer(job_.train.optimizer)),
      state_names(optimizer->state_names()),
      learning_rate(make_schedule(job_.train.schedule, base_lr(job_.train.optimizer), schedule.steps(),
                                  schedule.steps_per_epoch(), lr_scale(job_.train))),
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
      backend(make_backend(job_, placement)),
      faults(placement.replicas),
      drills(job_.drills, [this] { return group.error() != nullptr; }),
      not_finite(static_cast<std::size_t>(placement.replicas)),
      finite(static_cast<std::size_t>(placement.replicas)) {
  if (job.train.ema) state_names.emplace_back(kAverage);
  if (job.balance == Balance::automatic && placement.replicas > 1) balancer.emplace(placement.replicas);
}

RunState state_at(Run& run, std::int64_t step) {
  RunState state;
  state.step = step;
  state.seed = run.job.seed;
  state.job = weights_yaml(run.job);
  state.basis = run.basis;
  run.progress->describe(state);
  // The better of two is kept: by accuracy where there is one, by loss otherwise; NaN compares as worse.
  // Where an average of the weights is kept, it is the result.
  const bool averaged = !std::isnan(state.ema_test_loss);
  const double accuracy = averaged ? state.ema_test_accuracy : state.test_accuracy;
  const double metric = std::isnan(accuracy) ? -(averaged ? state.ema_test_loss : state.test_loss) : accuracy;
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
  return state;
}

Checkpointer::Make snapshot(Run& run, const ParameterTable& table, std::int64_t step) {
  const auto copies = std::make_shared<std::vector<Buffer>>();
  for (int k = -1; k < static_cast<int>(run.state_names.size()); ++k) {
    copies->push_back(Buffer::host_floats(table.floats()));
    if (k < 0)
      run.reducer->save(copies->back().floats());
    else
      run.reducer->save_state(k, copies->back().floats());
    if (!std::isfinite(largest_magnitude(copies->back().floats(), table.floats())))
      fail(ExitStatus::failed, "after {} the {} are not finite: training has diverged, and they are not saved",
           run.progress->place(step, run.lr(step)),
           k < 0 ? "parameters" : "optimizer's " + run.state_names[static_cast<std::size_t>(k)]);
  }
  return [&table, copies, names = run.state_names, state = state_at(run, step)]() mutable {
    omp_set_num_threads(1);  // packing is no work for a team
    std::vector<const float*> states;
    for (std::size_t k = 1; k < copies->size(); ++k) states.push_back((*copies)[k].floats());
    return take_snapshot(table, copies->front().floats(), names, states, std::move(state));
  };
}

void save(Run& run, const ParameterTable& table, std::int64_t step) {
  if (run.saved_step == step) return;
  run.saved_step = step;
  keep_rollback_point(run, table, step);
  if (run.checkpointer) run.checkpointer->save(snapshot(run, table, step));
}

void load_rollback_point(Run& run) {
  const RollbackPoint& point = run.rollback_point;
  run.saved_step = -1;  // what comes after it is saved anew
  run.reducer->load(point.parameters.floats());
  for (int k = 0; k < static_cast<int>(run.state_names.size()); ++k)
    run.reducer->load_state(k, point.state[static_cast<std::size_t>(k)].floats());
}

void set_up_weights(Run& run, const ParameterTable& table) {
  const CheckpointOptions& options = run.options.checkpoints;
  const Buffer weights = Buffer::host_floats(table.floats());
  if (options.resume_from) {
    std::vector<Buffer> buffers;
    std::vector<float*> states;
    for (int k = 0; k < static_cast<int>(run.state_names.size()); ++k) {
      buffers.push_back(Buffer::host_floats(table.floats()));
      states.push_back(buffers.back().floats());
    }
    options.resume_from->restore(table, weights.floats(), run.state_names, states);
    for (int k = 0; k < static_cast<int>(run.state_names.size()); ++k)
      run.reducer->load_state(k, states[static_cast<std::size_t>(k)]);
    const RunState& state = options.resume_from->snapshot.state;
    run.best_step = state.best_step;
    run.best_metric = state.best_metric;
    run.lr_factor = state.lr_factor;
    run.rollbacks = state.rollbacks;
    run.summary.skipped_steps = state.skipped_steps;
    run.skips_in_a_row = state.skips_in_a_row;
    options.resume_from->snapshot.model.clear();  // memory that the run can use
    options.resume_from->snapshot.optimizer.clear();
    options.resume_from->snapshot.average.clear();
  } else if (!options.init_from.empty()) {
    init_from(options.init_from, table, weights.floats());
  } else {
    table.initialise(run.job.seed, weights.floats());
  }
  run.reducer->load(weights.floats());
  // The average begins as the weights do; the first update takes its place.
  if (run.job.train.ema && !options.resume_from)
    run.reducer->load_state(run.optimizer->state_buffers(), weights.floats());
  keep_rollback_point(run, table, run.first);
}

Basis basis_of(const JobSpec& job, const DatasetPair& data) {
  const Placement placement = place(job, data.train->size());
  const bool gpu = placement.type == DeviceType::cuda;
  Basis basis{{"dptrain", version()},
              {"compiler", __VERSION__},
              {"devices", gpu ? placement.gpus.front().name : "cpu"},
              {"threads a replica", fmt::format("{}", job.devices.threads_per_replica)},
              {"samples a micro-batch", fmt::format("{}", micro_batch_size(job, placement.replicas))}};
  if (rests_on_length(job.train.schedule)) {
    const RunSchedule schedule(job, data.train->size(), placement.replicas);
    basis.emplace_back("steps of the learning-rate schedule", fmt::format("{}", schedule.steps()));
  }
  if (!gpu) {
    for (auto& fact : cpu_kernels_basis()) basis.push_back(std::move(fact));
  }
  return basis;
}

}  // namespace dptrain

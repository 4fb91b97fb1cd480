// How a run begins, and what a checkpoint keeps of it.
#include <fmt/format.h>
#include <omp.h>

#include <cmath>

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

}  // namespace

RunState state_at(Run& run, std::int64_t step) {
  RunState state;
  state.step = step;
  state.seed = run.job.seed;
  state.job = weights_yaml(run.job);
  state.basis = run.basis;
  run.progress->describe(state);
  // The better of two is kept: by accuracy where there is one, by loss otherwise; NaN compares as worse.
  const double metric = std::isnan(state.test_accuracy) ? -state.test_loss : state.test_accuracy;
  if (state.evaluated_step == step && (run.best_step < 0 || metric > run.best_metric || std::isnan(run.best_metric))) {
    run.best_step = step;
    run.best_metric = metric;
  }
  state.best_step = run.best_step;
  state.best_metric = run.best_metric;
  return state;
}

Checkpointer::Make snapshot(Run& run, const ParameterTable& table, std::int64_t step) {
  const auto copies = std::make_shared<std::vector<Buffer>>();
  for (int k = -1; k < run.optimizer->state_buffers(); ++k) {
    copies->push_back(Buffer::host_floats(table.floats()));
    if (k < 0)
      run.reducer->save(copies->back().floats());
    else
      run.reducer->save_state(k, copies->back().floats());
  }
  return [&table, copies, names = run.optimizer->state_names(), state = state_at(run, step)]() mutable {
    omp_set_num_threads(1);  // packing is no work for a team
    std::vector<const float*> states;
    for (std::size_t k = 1; k < copies->size(); ++k) states.push_back((*copies)[k].floats());
    return take_snapshot(table, copies->front().floats(), names, states, std::move(state));
  };
}

void set_up_weights(Run& run, const ParameterTable& table) {
  const CheckpointOptions& options = run.options.checkpoints;
  const Buffer weights = Buffer::host_floats(table.floats());
  if (options.resume_from) {
    Buffer buffers[2];
    std::vector<float*> states;
    for (int k = 0; k < run.optimizer->state_buffers(); ++k) {
      buffers[k] = Buffer::host_floats(table.floats());
      states.push_back(buffers[k].floats());
    }
    options.resume_from->restore(table, weights.floats(), run.optimizer->state_names(), states);
    for (int k = 0; k < run.optimizer->state_buffers(); ++k) run.reducer->load_state(k, buffers[k].floats());
    run.best_step = options.resume_from->snapshot.state.best_step;
    run.best_metric = options.resume_from->snapshot.state.best_metric;
    options.resume_from->snapshot.model.clear();  // memory that the run can use
    options.resume_from->snapshot.optimizer.clear();
  } else if (!options.init_from.empty()) {
    init_from(options.init_from, table, weights.floats());
  } else {
    table.initialise(run.job.seed, weights.floats());
  }
  run.reducer->load(weights.floats());
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

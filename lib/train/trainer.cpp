#include "train/trainer.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <system_error>
#include <thread>

#include "comm/local/local_group.h"
#include "core/clock.h"
#include "core/error.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "report/process.h"
#include "spec/reader.h"
#include "train/backend.h"
#include "train/checkpointer.h"
#include "train/doubts.h"
#include "train/fit.h"
#include "train/float_mode.h"
#include "train/progress.h"

namespace dptrain {

namespace {

/// What the replicas of one run share. Members are written by one thread between two barriers, or before the threads start.
struct Run {
  Run(const JobSpec& job_, const DatasetPair& data_, Reporter& reporter_, const TrainOptions& options_,
      Placement placement_)
      : job(job_),
        data(data_),
        reporter(reporter_),
        options(options_),
        placement(std::move(placement_)),
        group(placement.replicas),
        schedule(job_, data_.train->size(), placement.replicas),
        optimizer(make_optimizer(job_.train.optimizer)),
        learning_rate(make_schedule(job_.train.schedule, base_lr(job_.train.optimizer), schedule.steps(),
                                    schedule.steps_per_epoch())),
        replicas(static_cast<std::size_t>(placement.replicas)),
        losses(schedule.full().micro_batches.size()),
        test_sums(static_cast<std::size_t>((data_.test->size() + evaluation_chunk(schedule, data_.test->size()) - 1) /
                                           evaluation_chunk(schedule, data_.test->size()))),
        evaluated(static_cast<std::size_t>(placement.replicas)),
        evaluate_every(job_.evaluate.every ? schedule.steps_of(*job_.evaluate.every) : schedule.steps()),
        checkpoint_every(job_.checkpoint.every ? schedule.steps_of(*job_.checkpoint.every) : schedule.steps()),
        first(options_.checkpoints.resume_from ? options_.checkpoints.resume_from->snapshot.state.step : 0),
        times(static_cast<std::size_t>(placement.replicas)),
        backend(make_backend(job_, placement)) {}

  const JobSpec& job;
  const DatasetPair& data;
  Reporter& reporter;
  const TrainOptions& options;
  Placement placement;
  LocalGroup group;
  RunSchedule schedule;
  std::unique_ptr<Optimizer> optimizer;
  Schedule learning_rate;
  std::unique_ptr<GradientReducer> reducer;  // made by rank 0, which knows the parameters first
  // They outlive their threads: a device may still work with one's gradients when its own thread has failed.
  std::vector<std::unique_ptr<Replica>> replicas;
  std::unique_ptr<Progress> progress;  // rank 0's
  std::vector<LossSum> losses;         // by micro-batch of the step
  std::vector<LossSum> test_sums;      // by chunk of the test set
  std::vector<char> evaluated;         // by replica: whether it did all its chunks of the test set
  bool cut_short = false;              // the last evaluation was not complete
  std::int64_t evaluate_every, checkpoint_every;
  std::int64_t first;  // steps done before this run began
  std::unique_ptr<Checkpointer> checkpointer;
  Basis basis;
  std::int64_t best_step = -1;  // of the checkpoints
  double best_metric = not_known;
  std::vector<StepTimes> times;  // by replica, of the step that just ended
  std::int64_t end = 0;          // steps after which the run ends; moved forward by a stop request
  std::int64_t parameters = 0;   // of the model; known to rank 0 first
  std::unique_ptr<Backend> backend;
  Summary summary;
};

std::string device_type(const Run& run) {
  return run.placement.type == DeviceType::cuda ? "cuda" : "cpu";
}

/// GPUs that replicas share count once.
int device_count(const Run& run) {
  if (run.placement.type == DeviceType::cpu) return run.group.size();
  std::set<int> devices;
  for (const AcceleratorInfo& gpu : run.placement.gpus) devices.insert(gpu.device);
  return static_cast<int>(devices.size());
}

RunPlan describe(const Run& run, const ParameterTable& table) {
  const JobSpec& job = run.job;
  RunPlan plan;
  plan.name = job.name;
  plan.job_file = job.file;
  plan.seed = job.seed;
  plan.dataset = run.data.name;
  plan.dataset_location = run.data.location;
  plan.train_samples = run.data.train->size();
  plan.test_samples = run.data.test->size();
  plan.classes = run.data.train->classes();
  plan.sample_shape = run.data.train->shape();
  plan.device_type = device_type(run);
  plan.devices = device_count(run);
  plan.replicas = run.group.size();
  plan.threads_per_replica = job.devices.threads_per_replica;
  plan.parameters = table.elements();
  plan.mode = "sync";
  plan.reproducible = job.reproducible;
  plan.global_batch_size = job.train.global_batch_size;
  plan.step_samples = run.schedule.full().samples;
  plan.micro_batches = static_cast<std::int64_t>(run.schedule.full().micro_batches.size());
  plan.steps = run.schedule.steps();
  plan.epochs = static_cast<double>(plan.steps) / static_cast<double>(run.schedule.steps_per_epoch());
  return plan;
}

/// Every sample of the test set once, by all replicas; rank 0 adds the chunks in index order and reports. Where a stop
/// request cuts it short the run ends with it.
void evaluate(Run& run, Replica& replica, int rank, std::int64_t step) {
  const double start = steady_seconds();
  double asked = not_known;  // when this replica first saw the request
  run.evaluated[static_cast<std::size_t>(rank)] = replica.evaluate(step, run.test_sums, [&] {
    if (!stop_asked(run.options.stop)) return false;
    if (std::isnan(asked)) asked = steady_seconds();
    return steady_seconds() - asked >= run.options.evaluation_grace;
  });
  run.group.barrier();
  if (rank == 0) {
    run.cut_short = std::find(run.evaluated.begin(), run.evaluated.end(), false) != run.evaluated.end();
    if (run.cut_short) {
      run.end = step;
    } else {
      LossSum sum;
      for (const LossSum& chunk : run.test_sums) {
        sum.loss += chunk.loss;
        sum.correct += chunk.correct;
      }
      const auto samples = static_cast<double>(run.data.test->size());
      run.progress->evaluated(step, sum.loss / samples, static_cast<double>(sum.correct) / samples,
                              steady_seconds() - start);
    }
  }
  run.group.barrier();  // the next evaluation writes test_sums again
}

/// The state after `step`, but for the hash of the weights. Rank 0's.
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

/// What makes the snapshot, from copies. Rank 0's, at the end of `step` and before it begins the next: the others may already
/// compute gradients, but update nothing.
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

/// Parameters and optimizer state as the run begins: from a checkpoint, a file, or the seed.
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

/// The losses of `step` are known.
void stepped(Run& run, std::int64_t step) {
  run.progress->stepped(step, run.learning_rate.lr(step), run.schedule.plan(step), run.losses, run.times);
}

/// All steps, and the evaluations between them.
void run_steps(Run& run, int rank, Replica& replica) {
  StepTimes& times = run.times[static_cast<std::size_t>(rank)];
  std::int64_t step = run.first, collected = run.first;  // steps begun, and those whose losses are known
  // A run that was stopped after its last step and before the evaluation.
  if (run.first == run.end && run.options.checkpoints.resume_from->snapshot.state.evaluated_step != run.end)
    evaluate(run, replica, rank, run.end);
  while (step < run.end) {
    const StepPlan& plan = run.schedule.plan(step);
    run.reducer->begin(rank, run.optimizer->rule(step, run.learning_rate.lr(step)));
    const Replica::Times computed = replica.run(step);
    const bool due = step - collected >= replica.lag();
    if (due) replica.collect(collected, run.losses);
    times.data = computed.data;
    times.compute = computed.compute;
    const double waited = run.reducer->gather(rank);
    if (rank == 0) {
      if (due) stepped(run, collected);
      if (stop_asked(run.options.stop)) run.end = step + 1;
    }
    const GradientReducer::Times reduced = run.reducer->update(rank, plan);
    times.wait = waited + reduced.wait;
    times.reduce = computed.reduce + reduced.reduce;
    ++step;
    if (due) {
      ++collected;
      if (rank == 0) run.progress->report_if_due(collected, run.end, reduced.end);
    }
    const bool evaluates = step % run.evaluate_every == 0 || step == run.end;
    for (; evaluates && collected < step; ++collected) {  // what the device was still at work on
      replica.collect(collected, run.losses);
      run.group.barrier();
      if (rank == 0) {
        stepped(run, collected);
        run.progress->report_if_due(collected + 1, run.end, steady_seconds());
      }
      run.group.barrier();
    }
    // On a request to stop what was reached comes to the disk before anything else.
    const bool stopped = step == run.end && step < run.schedule.steps();
    const bool saves = stopped || step % run.checkpoint_every == 0;
    if (rank == 0 && run.checkpointer && stopped) run.checkpointer->save(snapshot(run, replica.parameters(), step));
    if (evaluates && !run.options.until) evaluate(run, replica, rank, step);
    if (rank == 0 && run.checkpointer && saves && !stopped && step < run.end)
      run.checkpointer->save(snapshot(run, replica.parameters(), step));
  }
}

/// The life of one replica, on its own thread.
void replicate(Run& run, int rank) {
  omp_set_num_threads(static_cast<int>(run.job.devices.threads_per_replica));
  flush_denormals();
  const std::int64_t batch_floats = run.schedule.largest_batch() * run.data.train->shape().elements();
  std::unique_ptr<Replica>& replica = run.replicas[static_cast<std::size_t>(rank)];
  replica = run.backend->make_replica({.job = run.job,
                                       .schedule = run.schedule,
                                       .data = run.data,
                                       .rank = rank,
                                       .replicas = run.group.size(),
                                       .first_step = run.first,
                                       .loader_worker = wants_loader_worker(run.job, run.group.size(), batch_floats)});
  const ParameterTable& table = replica->parameters();
  if (rank == 0) {
    run.parameters = table.elements();
    run.reducer = run.backend->make_reducer({.group = run.group,
                                             .schedule = run.schedule,
                                             .floats = table.floats(),
                                             .state_buffers = run.optimizer->state_buffers(),
                                             .clip_norm = run.job.train.clip_norm});
    set_up_weights(run, table);
    run.reporter.started(describe(run, table), to_yaml(run.job));
    for (const std::string& doubt : doubts(run.job, run.schedule)) run.reporter.warning(doubt);
    run.progress = std::make_unique<Progress>(run.job, run.schedule, run.reporter);
    if (run.options.checkpoints.resume_from) run.progress->resume(run.options.checkpoints.resume_from->snapshot.state);
    if (!run.options.checkpoints.run_folder.empty()) {
      run.basis = basis_of(run.job, run.data);
      run.checkpointer =
          std::make_unique<Checkpointer>(run.options.checkpoints.run_folder, run.job.checkpoint.keep,
                                         [&run](const std::string& text) { run.reporter.warning(text); });
    }
  }
  // Snapshots are made by the replica's table.
  struct Quiet {
    std::unique_ptr<Checkpointer>* checkpointer;
    ~Quiet() {
      if (checkpointer != nullptr) checkpointer->reset();
    }
  } const quiet{rank == 0 ? &run.checkpointer : nullptr};
  run.group.barrier();
  replica->bind(run.reducer->parameters(rank));
  run.reducer->join(rank, *replica);
  run.group.barrier();
  if (rank == 0) run.progress->start(steady_seconds(), seconds_since_start());  // here every replica is ready

  try {
    run_steps(run, rank, *replica);
  } catch (...) {
    // Said at once: others may wait for this one, on the host or on their devices.
    if (!run.group.error()) run.group.abort(std::current_exception());
    run.reducer->abandon();
    throw;
  }

  if (rank != 0) return;
  const Buffer weights = Buffer::host_floats(table.floats());
  run.reducer->save(weights.floats());
  run.summary.weights_hash = table.hash(weights.floats());
  if (run.checkpointer) {
    RunState state = state_at(run, run.end);
    state.weights_hash = run.summary.weights_hash;
    run.checkpointer->finish(state, [&] { return snapshot(run, table, run.end)(); });
  }
  if (run.options.save) run.options.save({table, weights.floats(), run.end});
}

/// All of the summary but its status.
void summarise(Run& run) {
  const JobSpec& job = run.job;
  const std::string hash = run.summary.weights_hash;
  Summary& s = run.summary;
  s = run.progress->summary();
  s.weights_hash = hash;
  s.parameters = run.parameters;
  s.name = job.name;
  s.dataset = run.data.name;
  s.device_type = device_type(run);
  s.mode = "sync";
  s.seed = job.seed;
  s.devices = device_count(run);
  s.replicas = run.group.size();
  s.micro_batches = static_cast<std::int64_t>(run.schedule.full().micro_batches.size());
  s.reproducible = job.reproducible;
  s.wall_seconds = seconds_since_start();
  s.peak_rss_bytes = peak_rss_bytes();
  // A test set that was cut short leaves an earlier evaluation's figures, of other weights.
  if (run.cut_short) s.test_loss = s.test_accuracy = not_known;
}

/// What `expect` asks for and the run has not reached.
std::vector<std::string> misses(const ExpectSpec& expect, const Summary& s) {
  std::vector<std::string> missed;
  if (expect.test_accuracy && !(s.test_accuracy >= *expect.test_accuracy)) {
    const double shown = std::floor(1e4 * s.test_accuracy + 1e-6) / 100;  // rounding up could show what is asked for
    missed.push_back(fmt::format("test accuracy {:.2f}% is below the {:.6g}% that expect.test_accuracy asks for", shown,
                                 100 * *expect.test_accuracy));
  }
  if (expect.test_loss && !(s.test_loss <= *expect.test_loss)) {
    missed.push_back(fmt::format("test loss {:.6g} is above the {:.6g} that expect.test_loss asks for", s.test_loss,
                                 *expect.test_loss));
  }
  return missed;
}

void finish(Run& run) {
  summarise(run);
  Summary& s = run.summary;
  const bool stopped = run.cut_short || run.end < run.schedule.steps();
  const std::vector<std::string> missed = stopped ? std::vector<std::string>() : misses(run.job.expect, s);
  s.status = stopped ? RunStatus::stopped : missed.empty() ? RunStatus::done : RunStatus::expect_not_met;
  run.reporter.finished(s);
  for (const std::string& miss : missed) run.reporter.warning(miss);
}

/// A run that ends by an error after it began says so in its folder.
void leave_failed(Run& run) {
  if (run.progress == nullptr) return;
  summarise(run);
  run.summary.weights_hash.clear();  // these weights are nobody's result
  run.summary.status = RunStatus::failed;
  try {
    run.reporter.failed(run.summary);
  } catch (const Error&) {
    // The error that ended the run is the one to tell; this one may well be the same: a full disk.
  }
}

/// Whether a run of more steps has other learning rates from the start.
bool rests_on_length(const ScheduleSpec& schedule) {
  return std::holds_alternative<CosineSchedule>(schedule.shape) ||
         std::holds_alternative<LinearSchedule>(schedule.shape) ||
         std::holds_alternative<OneCycleSchedule>(schedule.shape);
}

}  // namespace

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

Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options) {
  check_data_fit(job, data.train->shape(), data.train->classes());
  Run run(job, data, reporter, options, place(job, data.train->size()));
  const int replicas = run.group.size();
  run.end = std::min(run.schedule.steps(), options.until.value_or(run.schedule.steps()));
  if (run.first > run.end) {
    fail(ExitStatus::usage, "the checkpoint is of step {}, and this job ends at step {}", run.first, run.end);
  }

  std::vector<std::thread> threads;
  const auto live = [&run](int rank) {
    try {
      replicate(run, rank);
    } catch (const GroupAborted&) {
      // Another replica has failed and said why.
    } catch (...) {
      run.group.abort(std::current_exception());
    }
  };
  try {
    for (int rank = 0; rank < replicas; ++rank) threads.emplace_back(live, rank);
  } catch (const std::system_error& error) {
    run.group.abort(std::make_exception_ptr(Error(
        ExitStatus::failed,
        fmt::format("a thread for replica {} of {} cannot be started: {}", threads.size(), replicas, error.what()))));
  }
  for (std::thread& thread : threads) thread.join();
  if (const std::exception_ptr error = run.group.error()) {
    leave_failed(run);
    std::rethrow_exception(error);
  }
  finish(run);
  return run.summary;
}

}  // namespace dptrain

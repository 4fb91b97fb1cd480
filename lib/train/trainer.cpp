#include "train/trainer.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <system_error>
#include <thread>

#include "core/clock.h"
#include "core/error.h"
#include "report/process.h"
#include "spec/reader.h"
#include "train/doubts.h"
#include "train/float_mode.h"
#include "train/run.h"

namespace dptrain {

namespace {

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
                                       .loader_workers = loader_workers(run.job, run.group.size(), batch_floats,
                                                                        run.data.train->is_costly())});
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

}  // namespace

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

#include "train/trainer.h"

#include <omp.h>

#include <system_error>
#include <thread>

#include "core/clock.h"
#include "core/error.h"
#include "report/process.h"
#include "spec/reader.h"
#include "train/doubts.h"
#include "train/float_mode.h"
#include "train/run.h"
#include "train/sync/run_sync.h"

namespace dptrain {

namespace {

std::unique_ptr<Replica> make_replica(Run& run, int rank) {
  const std::int64_t batch_floats = run.schedule.largest_batch() * run.data.train->shape().elements();
  return run.backend->make_replica({.job = run.job,
                                    .schedule = run.schedule,
                                    .data = run.data,
                                    .rank = rank,
                                    .replicas = run.group.size(),
                                    .first_step = run.first,
                                    .loader_worker = wants_loader_worker(run.job, run.group.size(), batch_floats),
                                    .reassigned = may_reassign(run.job, run.group.size())});
}

/// Rank 0's: everything that the replicas share and that only a model's parameters make possible.
void set_up(Run& run, const ParameterTable& table) {
  run.parameters = table.elements();
  run.reducer = run.backend->make_reducer({.group = run.group,
                                           .schedule = run.schedule,
                                           .floats = table.floats(),
                                           .state_buffers = run.optimizer->state_buffers(),
                                           .clip_norm = run.job.train.clip_norm,
                                           .ranges = update_ranges(table)});
  set_up_weights(run, table);
  run.reporter.started(describe(run, table), to_yaml(run.job));
  for (const std::string& doubt : doubts(run.job, run.schedule)) run.reporter.warning(doubt);
  run.progress = std::make_unique<Progress>(run.job, run.schedule, run.reporter);
  if (run.options.checkpoints.resume_from) run.progress->resume(run.options.checkpoints.resume_from->snapshot.state);
  if (!run.options.checkpoints.run_folder.empty()) {
    run.basis = basis_of(run.job, run.data);
    run.checkpointer = std::make_unique<Checkpointer>(run.options.checkpoints.run_folder, run.job.checkpoint.keep,
                                                      [&run](const std::string& text) { run.reporter.warning(text); });
  }
}

/// Rank 0's, after the last step: the weights' hash, and the last checkpoint.
void keep_result(Run& run, const ParameterTable& table) {
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

/// The life of one replica, on its own thread.
void replicate(Run& run, int rank) {
  omp_set_num_threads(static_cast<int>(run.job.devices.threads_per_replica));
  flush_denormals();
  std::unique_ptr<Replica>& replica = run.replicas[static_cast<std::size_t>(rank)];
  replica = make_replica(run, rank);
  const ParameterTable& table = replica->parameters();
  if (rank == 0) set_up(run, table);
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
    run_sync(run, rank, *replica);
  } catch (...) {
    // Said at once: others may wait for this one, on the host or on their devices.
    if (!run.group.error()) run.group.abort(std::current_exception());
    run.reducer->abandon();
    throw;
  }
  if (rank == 0) keep_result(run, table);
}

}  // namespace

Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options) {
  check_data_fit(job, data.train->shape(), data.train->classes());
  Placement placement = place(job, data.train->size());
  check_faults_fit(job, placement);
  Run run(job, data, reporter, options, std::move(placement));
  check_batches_fit(job, run.schedule);
  const int replicas = run.group.size();
  if (run.first > run.end) {
    fail(ExitStatus::usage, "the checkpoint is of step {}, and this job ends at step {}", run.first, run.end);
  }
  if (job.faults.step_deadline) {
    run.watchdog = std::make_unique<Watchdog>(replicas, *job.faults.step_deadline,
                                              [&run](int rank, std::int64_t step) { leave_late(run, rank, step); });
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
    run.faults.note_unsettled();
    leave_failed(run);
    std::rethrow_exception(error);
  }
  finish(run);
  return run.summary;
}

}  // namespace dptrain

#include "train/trainer.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "core/clock.h"
#include "core/error.h"
#include "core/in_words.h"
#include "core/process.h"
#include "kernels/moments.h"
#include "report/fault_history.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/checkpoint/first_weights.h"
#include "train/fit/warnings.h"
#include "train/float_mode.h"
#include "train/run.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

std::unique_ptr<Replica> make_replica(Run& run, int rank) {
  Replica::Config config{.job = run.job,
                         .schedule = run.schedule,
                         .data = run.data,
                         .rank = rank,
                         .replicas = run.placement.replicas,
                         .first_step = run.first,
                         .loader_workers = loader_workers(run),
                         .exchange = run.exchange.get()};
  run.strategy->configure(run, config);
  return run.backend->make_replica(config);
}

/// Where the model's norms over the whole step meet; null where it has none.
std::unique_ptr<StepExchange> make_exchange(Run& run) {
  std::int64_t floats = 0;
  for (const LayerShape& norm : sync_norms(run.job.model)) floats = std::max(floats, moments_floats(norm.input[0]));
  if (floats == 0) return nullptr;
  return std::make_unique<StepExchange>(run.group, run.processes, run.placement, run.schedule, floats,
                                        run.watchdog.get());
}

/// What went wrong in earlier parts of the run. A rehearsal that ended one of them is over: a retry shall get past it.
void remember_faults(Run& run) {
  std::vector<FaultReport> history = read_fault_history(run.options.checkpoints.run_folder / "metrics.jsonl");
  for (const FaultReport& report : history) {
    const DrillDone done{report.step, report.replica};
    if (report.kind == "replica_failed") run.drills.leave_out(DrillKind::throw_, done);
    if (report.kind == "deadline") run.drills.leave_out(DrillKind::stall, done);
    if (report.kind == "not_finite" && report.action == "stop") run.drills.leave_out(DrillKind::nan, done);
  }
  run.faults.remember(std::move(history));
}

/// First weights that no seed can make again are on the disk before the first step.
void keep_first_weights(Run& run, const ParameterTable& table) {
  const CheckpointOptions& options = run.options.checkpoints;
  if (options.init_from.empty() || options.resume_from) return;
  write_checkpoint(options.run_folder, snapshot(run, table, 0)());
  omp_set_num_threads(static_cast<int>(run.job.devices.threads_per_replica));  // the snapshot was packed on one
}

/// The leader's: everything that the replicas share and that only a model's parameters make possible.
void set_up(Run& run, const ParameterTable& table) {
  run.parameters = table.elements();
  run.update_plan = update_plan(table, run.job.train);
  run.weights = &run.strategy->hold(run, table.floats());
  set_up_weights(run, table);
  if (run.options.checkpoints.continues) remember_faults(run);
  run.reporter.started(describe(run, table), first_weights_note(run.first_weights) + to_yaml(run.job));
  for (const std::string& warning : warnings(run.job, run.schedule, run.placement)) run.reporter.warning(warning);
  run.progress = std::make_unique<Progress>(run.job, run.schedule, run.reporter);
  if (run.options.checkpoints.resume_from) run.progress->resume(run.options.checkpoints.resume_from->snapshot.state);
  if (run.publishes()) {
    run.basis = basis_of(run.job, run.data, run.placement);
    keep_first_weights(run, table);
    run.checkpointer = std::make_unique<Checkpointer>(run.options.checkpoints.run_folder, run.job.checkpoint.keep,
                                                      [&run](const std::string& text) { run.reporter.warning(text); });
  }
  run.strategy->start(run);
  {
    const std::lock_guard lock(run.threads.mutex);
    run.threads.started = true;
  }
  run.threads.changed.notify_all();  // it may have to be given up already
}

/// The leader's, after the last step: the weights' hash, and the last checkpoint.
void keep_result(Run& run, const ParameterTable& table) {
  const Buffer weights = Buffer::host_floats(table.floats());
  run.weights->save(weights.floats());
  run.summary.weights_hash = table.hash(weights.floats());
  if (run.saves()) run.weights->gather_state();
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
  if (run.leads(rank)) set_up(run, table);
  // Snapshots are made by the replica's table.
  struct Quiet {
    std::unique_ptr<Checkpointer>* checkpointer;
    ~Quiet() {
      if (checkpointer != nullptr) checkpointer->reset();
    }
  } const quiet{run.leads(rank) ? &run.checkpointer : nullptr};
  run.group.barrier();
  run.strategy->join(run, rank, *replica);
  run.group.barrier();
  if (run.leads(rank)) run.progress->start(steady_seconds(), seconds_since_start());  // here every replica is ready

  try {
    run.strategy->run(run, rank, *replica);
  } catch (const GroupAborted&) {
    run.strategy->abandon(run);
    throw;
  } catch (...) {
    // Said at once: others may wait for this one, on the host or on their devices.
    if (!run.group.error()) run.group.abort(std::current_exception());
    fail_together(run);  // first: other processes notice what is given up, and would take that for the reason
    run.strategy->abandon(run);
    throw;
  }
  if (run.leads(rank)) keep_result(run, table);
  // Nobody says that the run has ended well before the last checkpoint is there.
  run.group.barrier([&run] { share_stop(run); });
}

/// Told by the watchdog, on its thread.
void give_up(Run& run, int rank, std::int64_t step) {
  {
    const std::lock_guard lock(run.threads.mutex);
    if (run.threads.running == 0) return;  // it came to its end after all
    run.threads.late = {rank, step};
  }
  run.processes.fail(ExitStatus::retry, late_text(run, rank, step));
  run.group.abort(std::make_exception_ptr(Error(ExitStatus::retry, "a replica is late")));  // the others end
  run.strategy->abandon(run);
  run.threads.changed.notify_all();
  // The process ends from the thread that waits for the replicas, unless that is stuck as well: in a write to a dead
  // disk, say.
  std::this_thread::sleep_for(std::chrono::seconds(4));
  std::_Exit(static_cast<int>(ExitStatus::retry));
}

/// Returns when every replica's thread is at its end.
void wait_for_replicas(Run& run) {
  std::unique_lock lock(run.threads.mutex);
  const auto is_over = [&] { return run.threads.running == 0 || run.threads.late; };
  run.threads.changed.wait(lock, [&] { return is_over() || (run.threads.lost && run.threads.started); });
  if (!is_over()) {
    // Here, and not where the news comes in: this may hang as well, and then the process is ended from there.
    lock.unlock();
    run.strategy->abandon(run);
    lock.lock();
    run.threads.changed.wait(lock, is_over);
  }
  if (!run.threads.late) return;
  run.threads.changed.wait_for(lock, std::chrono::seconds(1), [&] { return run.threads.running <= 1; });
  lock.unlock();
  leave_late(run);
}

}  // namespace

void fail_together(Run& run) {
  try {
    std::rethrow_exception(run.group.error());
  } catch (const Error& error) {
    run.processes.fail(error.status(), error.what());
  } catch (const std::exception& error) {
    run.processes.fail(ExitStatus::failed, in_words(error));
  }
}

Summary train(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options) {
  check_data_fit(job, data.train->shape(), data.train->classes());
  const std::unique_ptr<Communicator> alone = options.processes == nullptr ? make_alone() : nullptr;
  Communicator& processes = options.processes == nullptr ? *alone : *options.processes;
  check_processes_fit(job, processes);
  Run run(job, data, reporter, options, processes, place(job, data.train->size(), processes));
  run.strategy->check(job, run.placement, run.schedule);
  check_batches_fit(job, run.schedule);
  if (run.first > run.end) {
    fail(ExitStatus::usage, "the checkpoint is of step {}, and this job ends at step {}", run.first, run.end);
  }
  if (const std::optional<double> deadline = step_deadline(job, processes)) {
    processes.set_deadline(*deadline);
    run.watchdog = std::make_unique<Watchdog>(run.placement.replicas, *deadline,
                                              [&run](int rank, std::int64_t step) { give_up(run, rank, step); });
  }
  run.exchange = make_exchange(run);
  struct Listening {
    Communicator& processes;
    ~Listening() { processes.listen({}); }
  } const listening{processes};
  processes.listen([&run](const News& news) {
    run.group.abort(std::make_exception_ptr(Error(news.status, news.text)));
    {
      const std::lock_guard lock(run.threads.mutex);
      run.threads.lost = true;
    }
    run.threads.changed.notify_all();
  });

  std::vector<std::thread> threads;
  const auto live = [&run](int rank) {
    try {
      replicate(run, rank);
    } catch (const GroupAborted&) {
      // Another replica has failed and said why.
    } catch (...) {
      run.group.abort(std::current_exception());
      fail_together(run);
    }
    const std::lock_guard lock(run.threads.mutex);
    --run.threads.running;
    run.threads.changed.notify_all();
  };
  try {
    for (int rank = run.here.first; rank < run.here.last; ++rank) {
      {
        const std::lock_guard lock(run.threads.mutex);
        ++run.threads.running;
      }
      threads.emplace_back(live, rank);
    }
  } catch (const std::system_error& error) {
    {
      const std::lock_guard lock(run.threads.mutex);
      --run.threads.running;
    }
    run.group.abort(std::make_exception_ptr(
        Error(ExitStatus::failed, fmt::format("a thread for replica {} of {} cannot be started: {}", threads.size(),
                                              run.here.count(), error.what()))));
    fail_together(run);
  }
  wait_for_replicas(run);
  for (std::thread& thread : threads) thread.join();
  run.strategy->end(run);
  if (const News* news = processes.news())
    run.group.abort(std::make_exception_ptr(Error(news->status, news->text)));  // unless that is done
  try {
    if (!run.group.error() && run.reducer) run.reducer->close();
  } catch (const GroupAborted&) {
    // Another process has gone meanwhile, and the group knows.
  } catch (...) {
    run.group.abort(std::current_exception());
  }
  if (const std::exception_ptr error = run.group.error()) {
    if (run.reducer) run.reducer->abandon();  // before replicas and buffers go, which wait for their devices
    leave_failed(run);
    std::rethrow_exception(error);
  }
  finish(run);
  return run.summary;
}

}  // namespace dptrain

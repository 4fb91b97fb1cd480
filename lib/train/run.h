// Purpose: what the replicas of one run share, and what is done with it once for all of them: how a run begins and goes
//   on, and how it ends. The steps are those of its mode: train/update_strategy.h. Where several processes train
//   together each has a Run, all of them alike but for what is another's replica.
// Thread safety: members are written by one thread between two barriers, or before the threads start; those that are
//   kept by replica belong to its thread until the next barrier; the functions are the process's leading replica's
//   ("rank 0's" where that is all the same), or called while no replica runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "comm/local/local_group.h"
#include "kernels/update_ranges.h"
#include "optim/average.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "train/backend.h"
#include "train/balance.h"
#include "train/checkpoint/checkpointer.h"
#include "train/faults/drills.h"
#include "train/faults/faults.h"
#include "train/faults/rollback.h"
#include "train/faults/watchdog.h"
#include "train/fit/fit.h"
#include "train/progress.h"
#include "train/sync/step_status.h"
#include "train/trainer.h"
#include "train/update_strategy.h"

namespace dptrain {

/// The replicas' threads, for the one that waits for them.
struct ReplicaThreads {
  struct Late {
    int rank;
    std::int64_t step;
  };
  std::mutex mutex;
  std::condition_variable changed;
  int running = 0;
  std::optional<Late> late;  // it is past the step deadline, and its thread may never end
  bool started = false;      // the strategy has all that waits: abandon() may be called
  bool lost = false;         // another process has failed, and may keep a replica's thread waiting
};

/// Optimizer state that a mode has beside that of its WeightsHolder, flat; by one thread while no replica is at work.
struct NamedState {
  std::string name;
  std::function<void(const float*)> load;
  std::function<void(float*)> save;
};

struct Run {
  Run(const JobSpec& job, const DatasetPair& data, Reporter& reporter, const TrainOptions& options,
      Communicator& processes, Placement placement);

  const JobSpec& job;
  const DatasetPair& data;
  Reporter& reporter;
  const TrainOptions& options;
  Communicator& processes;
  Placement placement;
  Range here;  // the replicas of this process; others' entries of what is kept by replica are known after a share()
  LocalGroup group;
  RunSchedule schedule;
  std::shared_ptr<const Assignment> assignment;  // who runs what, from the coming step on
  std::vector<std::string> state_names;  // of the sets of floats that the run keeps beside its parameters, as saved
  UpdatePlan update_plan;                // of the model's parameters, known to rank 0 first
  Schedule learning_rate;
  std::unique_ptr<UpdateStrategy> strategy;
  WeightsHolder* weights = nullptr;          // the strategy's, made by rank 0, which knows the parameters first
  std::unique_ptr<GradientReducer> reducer;  // where steps are taken together
  std::vector<NamedState> more_state;        // in checkpoints, after the optimizer's own
  // They outlive their threads: a device may still work with one's gradients when its own thread has failed.
  std::vector<std::unique_ptr<Replica>> replicas;
  std::unique_ptr<Progress> progress;  // the leader's
  std::vector<LossSum> losses;         // by micro-batch of the step
  std::vector<LossSum> test_sums;      // by chunk of the test set
  std::vector<char> evaluated;         // by replica: whether it did all its chunks of the test set
  bool cut_short = false;              // the last evaluation was not complete
  std::int64_t evaluate_every, checkpoint_every;
  std::int64_t first;  // steps done before this run began
  std::unique_ptr<Checkpointer> checkpointer;
  std::int64_t saved_step = -1;  // the last that save() was called for
  std::string first_weights;     // their hash where they were a file's, and not the seed's
  Basis basis;
  std::int64_t best_step = -1;  // of the checkpoints
  double best_metric = not_known;
  std::vector<StepTimes> times;  // by replica, of the step that just ended
  std::vector<double> busy;      // by replica, seconds in its part of the step that was collected last
  std::int64_t end = 0;          // steps after which the run ends; moved forward by a stop request
  std::int64_t parameters = 0;   // of the model; known to rank 0 first
  std::unique_ptr<Backend> backend;
  Summary summary;

  // What went wrong, and how it is dealt with: train/faults/settle.h.
  Faults faults;
  Drills drills;
  std::optional<Balancer> balancer;        // rank 0's
  std::unique_ptr<Watchdog> watchdog;      // where there is a deadline
  std::unique_ptr<StepExchange> exchange;  // where norms are over the whole step
  ReplicaThreads threads;
  std::vector<std::optional<NotFinite>> not_finite;  // by replica
  std::vector<char> finite;                          // by replica: its slice of the gradients' sum
  bool can_skip = false;                             // what is not finite is a step's gradient, and no state of the run
  std::optional<LossScale> loss_scale;               // after the step that was collected last, where losses are scaled
  int outcome = 0;
  StepStatus step_status;
  int stop = 0;          // the signal that the processes have agreed to stop for; 0: none
  double lr_factor = 1;  // what rollbacks have left of the learning rate
  std::int64_t rollbacks = 0, skips_in_a_row = 0;
  RollbackPoints rollback_points;  // rank 0's
  std::int64_t rollback_step = 0;  // where the last rollback went

  /// Whether this replica does once what every process does for all its replicas: what it decides then is the same in
  /// all of them, because they know the same.
  bool leads(int rank) const { return rank == here.first; }
  /// Whether the run leaves checkpoints, and whether it is this process that writes its folder.
  bool saves() const { return !options.checkpoints.run_folder.empty(); }
  bool publishes() const { return processes.rank() == 0 && saves(); }
  /// The learning rate of a step.
  double lr(std::int64_t step) const { return learning_rate.lr(step) * lr_factor; }
  /// What a step applies.
  StepUpdate update(std::int64_t step) const {
    return {rule_of(job.train.optimizer, step, lr(step)),
            job.train.ema ? average_rule(job.train.ema->decay, step) : AverageRule{}};
  }
};

/// Threads that load ahead of each replica.
int loader_workers(const Run& run);
/// Entries by replica, from all processes to all: between two steps, while the other replicas of the process wait.
template <class T>
void share_by_replica(Run& run, std::vector<T>& entries) {
  share_entries(run.processes, std::span(entries),
                [&](std::size_t r) { return run.placement.process_of(static_cast<int>(r)); });
}
/// All processes know of a request to stop that one has. Likewise.
void share_stop(Run& run);
/// The process's part of the run has failed, with the group's error: the others are told.
void fail_together(Run& run);
/// The same, where their requests (0: none), by process, have come with something else.
void agree_to_stop(Run& run, std::span<const int> signals);
/// Whether to stop: the same in all processes, as of the last share.
bool stop_agreed(const Run& run);

/// What is said before the first step.
RunPlan describe(const Run& run, const ParameterTable& table);
/// Parameters, optimizer state and all the rest as the run begins: from a checkpoint, a file, or the seed.
void set_up_weights(Run& run, const ParameterTable& table);
/// The state after `step`, but for the hash of the weights.
RunState state_at(Run& run, std::int64_t step);
/// What makes the snapshot, from copies. At the end of `step` and before rank 0 begins the next: the others may already
/// compute gradients, but update nothing. Errors: failed where a parameter is not finite: nothing of that kind is ever
/// saved.
Checkpointer::Make snapshot(Run& run, const ParameterTable& table, std::int64_t step);
/// Likewise: the checkpoint of `step`, on its way to the disk, and where the job may go back to it one to go back to.
/// Once a step.
void save(Run& run, const ParameterTable& table, std::int64_t step);
/// Whether the parameters and the optimizer's state are finite. While nobody updates them.
bool state_is_finite(const Run& run, const ParameterTable& table);
/// Weights and optimizer state are those of a point again. While no replica computes.
void go_back_to(Run& run, const RollbackPoints::Point& point);

/// The summary of a run that came to its end, or was stopped, and what it misses of `expect`.
void finish(Run& run);
/// A run that ends by an error after it began says so in its folder.
void leave_failed(Run& run);
/// Replica threads.late is past the step deadline. Its thread cannot be stopped or joined, so all that can be done is
/// to say it and end the process, with status 75. When the others' threads have ended, or will not.
[[noreturn]] void leave_late(Run& run);
/// What is said of it.
std::string late_text(const Run& run, int rank, std::int64_t step);

}  // namespace dptrain

// Purpose: what the replicas of one run share, and what is done with it once for all of them: how a run begins and goes on, and how it
//   ends. The loop itself is the trainer's. Thread safety: members are written by one thread between two barriers, or before the
//   threads start; the functions are rank 0's, or called while no replica runs.
#pragma once

#include "comm/local/local_group.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "train/backend.h"
#include "train/checkpointer.h"
#include "train/fit.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace dptrain {

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

/// What is said before the first step.
RunPlan describe(const Run& run, const ParameterTable& table);
/// Parameters and optimizer state as the run begins: from a checkpoint, a file, or the seed.
void set_up_weights(Run& run, const ParameterTable& table);
/// The state after `step`, but for the hash of the weights.
RunState state_at(Run& run, std::int64_t step);
/// What makes the snapshot, from copies. At the end of `step` and before rank 0 begins the next: the others may already compute
/// gradients, but update nothing.
Checkpointer::Make snapshot(Run& run, const ParameterTable& table, std::int64_t step);
/// The summary of a run that came to its end, or was stopped, and what it misses of `expect`.
void finish(Run& run);
/// A run that ends by an error after it began says so in its folder.
void leave_failed(Run& run);

}  // namespace dptrain

// Purpose: what a mode does in its own way: which replicas it wants, where the weights lie, how they are updated.
//   Chosen once, before the replicas' threads start.
// Thread safety: said at each member. Invariants: the strategy outlives the replicas' threads.
#pragma once

#include <memory>

#include "report/records.h"
#include "train/checkpoint/checkpoint.h"
#include "train/fit/fit.h"
#include "train/replica.h"
#include "train/weights_holder.h"

namespace dptrain {

struct Run;

class UpdateStrategy {
 public:
  virtual ~UpdateStrategy() = default;

  /// Whether job and devices are what the mode can do, before anything is made. Errors: usage.
  virtual void check(const JobSpec& job, const Placement& placement, const RunSchedule& schedule) const = 0;
  /// What its replicas need. Any thread.
  virtual void configure(const Run& run, Replica::Config& config) const = 0;
  /// Rank 0's, once the parameters are known: makes what will hold them.
  virtual WeightsHolder& hold(Run& run, std::int64_t floats) = 0;
  /// Rank 0's: the weights are there, and the run begins.
  virtual void start(Run& run) = 0;
  /// The replica will take part. Each on its own thread, after start().
  virtual void join(Run& run, int rank, Replica& replica) = 0;
  /// Steps run.first to run.end, with the evaluations and checkpoints between them. All replicas' threads together.
  /// Errors: what ends the run.
  virtual void run(Run& run, int rank, Replica& replica) = 0;
  /// A replica has failed, or another process has, and nobody is to wait for it. Any thread, at any time after start().
  virtual void abandon(Run& run) noexcept = 0;
  /// All replicas' threads have ended: so do those that the mode has.
  virtual void end(Run&) noexcept {}

  /// The learning rate of what is applied next, `step` steps being done: for reports. While no replica is at work.
  virtual double rate(const Run& run, std::int64_t step) const;
  /// Whether the weights have the same bits in every run of the job.
  virtual bool reproducible(const JobSpec& job) const { return job.reproducible; }
  /// What the mode has to say in checkpoints, in reports of an interval, and in the summary. While no replica is at
  /// work.
  virtual void describe(RunState&) const {}
  virtual void summarise(Summary&) const {}
};

/// For the job's mode.
std::unique_ptr<UpdateStrategy> make_strategy(const JobSpec& job);

}  // namespace dptrain

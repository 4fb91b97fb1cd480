// Purpose: what rank 0 knows of a run as it goes on: losses, times, the last evaluation; it decides when a log interval
//   is over, feeds the live line in between, and fills the summary. It asks no clock: in a step of microseconds that
//   would show, so it gets the times that the step has taken anyway. Thread safety: one user at a time, which is rank 0
//   where steps are taken together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "report/reporter.h"
#include "train/checkpoint/checkpoint.h"
#include "train/schedule.h"

namespace dptrain {

/// Where one replica's step went, in seconds.
struct StepTimes {
  double data = 0, compute = 0, reduce = 0, wait = 0;
};

class Progress {
 public:
  Progress(const JobSpec& job, const RunSchedule& schedule, Reporter& reporter);

  /// A run that goes on after `state`: its steps and seconds count. Before start().
  void resume(const RunState& state);

  /// Training begins at steady_seconds() `now`, `since_process_start` seconds after the process: from here on time
  /// counts. Before the first step.
  void start(double now, double since_process_start);

  /// Step `step` has its losses (by micro-batch), but for `left_out` samples whose gradients were of no use. Errors:
  /// failed where the loss is not finite.
  void stepped(std::int64_t step, double lr, const StepPlan& plan, const std::vector<LossSum>& losses,
               const std::vector<StepTimes>& times, std::int64_t left_out = 0);
  /// Where the replicas' time went in a step, where that is known apart from its losses.
  void took(const std::vector<StepTimes>& times);
  /// From here on micro-batches end one by one, in any order: rates count the samples of those that have ended, not of
  /// the steps that they completed, which may be several in one instant. A rate is of `least` samples at the fewest,
  /// together with the interval before where there are not as many. Before start().
  void count_micro_batches(std::int64_t least) { least_ = least; }
  void micro_batch_ended(std::int64_t samples) { rate_.samples += samples; }
  /// What asynchronous updates have come to, for the next report.
  void set_async(AsyncReport report) { async_ = std::move(report); }
  /// What losses are scaled by, for the next report.
  void set_loss_scale(const LossScaleReport& report) { loss_scale_ = report; }
  /// The loss of the coming step is not finite, and that ends the run.
  void diverged() { last_loss_ = not_known; }
  /// Step `step` was left out.
  void skipped(std::int64_t step);
  /// The run goes on at `step`, which it has passed before; what was spent on the way counts as training.
  void rewound(std::int64_t step);
  /// "step 12 (epoch 0.31, learning rate 0.1)".
  std::string place(std::int64_t step, double lr) const;
  /// `steps` are done at `now`; reports where they have come to the end of an interval or of the run, and else feeds
  /// the live line now and then.
  /// Whether it did.
  bool report_if_due(std::int64_t steps, std::int64_t end, double now);
  /// Of the interval that was reported last.
  double interval_loss() const { return interval_loss_; }
  /// What an evaluation found.
  /// `average`: with the weights' moving average. `seconds` it took. A loss that is not finite is reported as it is.
  EvalReport evaluated(std::int64_t steps, const Tested& weights, const Tested& average, double seconds);

  /// Training seconds up to the last step, final loss and the last evaluation, into the state of a checkpoint.
  void describe(RunState& state) const;

  /// What is known here: steps, losses, times, accuracy.
  Summary summary() const;

 private:
  struct Interval {
    double start = 0, loss = 0;
    std::int64_t samples = 0, skipped = 0;
    StepTimes times;  ///< mean over replicas, summed over steps
  };
  /// What was done in a stretch of time, for a rate.
  struct Stretch {
    double start = 0;
    std::int64_t samples = 0;
  };
  /// Of the log interval up to now_, or where that is too short to tell one together with the stretch before it.
  double samples_per_second() const;
  bool tells_rate() const { return rate_.samples >= least_ && now_ > rate_.start; }
  double epochs(std::int64_t steps) const {
    return static_cast<double>(steps) / static_cast<double>(schedule_.steps_per_epoch());
  }
  /// The interval up to now_.
  StepReport interval_report() const;
  void check_finite(double loss, const std::string& what, std::int64_t step, double lr) const;
  static TimeShares shares(const StepTimes& times);

  const RunSchedule& schedule_;
  Reporter& reporter_;
  std::int64_t log_every_;
  Interval interval_;
  Stretch rate_, before_;   ///< before_: ends where rate_ starts
  std::int64_t least_ = 0;  ///< samples of a rate, where micro-batches are counted; 0: steps are
  double lr_ = 0;
  std::int64_t steps_ = 0, reported_ = 0;  ///< reported_: of the latest report
  double now_ = 0, next_live_ = 0;         ///< when the last step ended; when the live line is fed again
  double startup_seconds_ = not_known, train_seconds_ = 0;
  double last_loss_ = not_known;  ///< of the last step that counts, whatever is logged when
  double interval_loss_ = not_known;
  StepTimes total_;
  std::optional<AsyncReport> async_;
  std::optional<LossScaleReport> loss_scale_;
  Tested tested_, average_tested_;
  std::int64_t evaluated_step_ = -1;  ///< whose weights they are of
};

}  // namespace dptrain

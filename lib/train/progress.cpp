#include "train/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"

namespace dptrain {

namespace {

void add(StepTimes& sum, const StepTimes& more, double weight = 1) {
  sum.data += weight * more.data;
  sum.compute += weight * more.compute;
  sum.reduce += weight * more.reduce;
  sum.wait += weight * more.wait;
}

}  // namespace

Progress::Progress(const JobSpec& job, const RunSchedule& schedule, Reporter& reporter)
    : schedule_(schedule), reporter_(reporter) {
  constexpr std::int64_t kLinesAnEpoch = 5;
  log_every_ = job.log.every
                   ? schedule.steps_of(*job.log.every)
                   : std::max<std::int64_t>(1, std::min(schedule.steps_per_epoch(), schedule.steps()) / kLinesAnEpoch);
  interval_.start = now();
}

double Progress::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Progress::check_finite(double loss, const char* what, std::int64_t step, double lr) const {
  if (std::isfinite(loss)) return;
  fail(ExitStatus::failed,
       "the {} is not finite at step {} (epoch {:.2f}, learning rate {:g}): training has diverged. A lower learning "
       "rate, warm-up (train.lr_schedule.warmup_steps) or clipping (train.clip_grad_norm) may help.",
       what, step, epochs(step), lr);
}

void Progress::stepped(std::int64_t step, double lr, const StepPlan& plan, const std::vector<LossSum>& losses,
                       const std::vector<StepTimes>& times) {
  double loss = 0;
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) loss += losses[m].loss;
  check_finite(loss, "loss", step, lr);
  interval_.loss += loss;
  interval_.samples += plan.samples;
  lr_ = lr;
  steps_ = step + 1;
  final_loss_ = loss / static_cast<double>(plan.samples);
  for (const StepTimes& replica : times) add(interval_.times, replica, 1.0 / static_cast<double>(times.size()));
}

void Progress::report_if_due(std::int64_t steps, std::int64_t end) {
  if (steps % log_every_ != 0 && steps != end) return;
  const double time = now(), seconds = time - interval_.start;
  train_seconds_ += seconds;
  add(total_, interval_.times);
  const auto samples = static_cast<double>(interval_.samples);
  final_loss_ = interval_.loss / samples;
  reporter_.step({.step = steps,
                  .epoch = epochs(steps),
                  .loss = final_loss_,
                  .lr = lr_,
                  .samples_per_second = samples / seconds,
                  .shares = shares(interval_.times)});
  interval_ = {};
  interval_.start = now();
}

void Progress::evaluated(std::int64_t steps, double loss, double accuracy, double seconds) {
  check_finite(loss, "test loss", steps, lr_);
  test_loss_ = loss;
  test_accuracy_ = accuracy;
  reporter_.evaluated(
      {.step = steps, .epoch = epochs(steps), .test_loss = loss, .test_accuracy = accuracy, .seconds = seconds});
  interval_.start += seconds;  // an interval is time spent training
}

TimeShares Progress::shares(const StepTimes& times) {
  const double all = times.data + times.compute + times.reduce + times.wait;
  if (all <= 0) return {};
  return {
      .data = times.data / all, .compute = times.compute / all, .reduce = times.reduce / all, .wait = times.wait / all};
}

Summary Progress::summary() const {
  Summary s;
  s.steps = steps_;
  s.epochs = epochs(steps_);
  s.samples = schedule_.samples_before(steps_);
  s.train_seconds = train_seconds_;
  s.samples_per_second = train_seconds_ > 0 ? static_cast<double>(s.samples) / train_seconds_ : 0;
  s.final_loss = final_loss_;
  s.test_loss = test_loss_;
  s.test_accuracy = test_accuracy_;
  s.shares = shares(total_);
  return s;
}

}  // namespace dptrain

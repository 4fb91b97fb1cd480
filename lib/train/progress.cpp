#include "train/progress.h"

#include <algorithm>
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
}

void Progress::resume(const RunState& state) {
  steps_ = reported_ = state.step;
  train_seconds_ = state.train_seconds;
  last_loss_ = state.final_loss;
  tested_ = {state.test_loss, state.test_accuracy};
  average_tested_ = {state.ema_test_loss, state.ema_test_accuracy};
  evaluated_step_ = state.evaluated_step;
  if (state.loss_scale) loss_scale_ = LossScaleReport{state.loss_scale->scale, state.loss_scale->skipped_steps};
}

void Progress::describe(RunState& state) const {
  state.train_seconds = train_seconds_ + std::max(0.0, now_ - interval_.start);
  state.final_loss = last_loss_;
  state.test_loss = tested_.loss;
  state.test_accuracy = tested_.accuracy;
  state.ema_test_loss = average_tested_.loss;
  state.ema_test_accuracy = average_tested_.accuracy;
  state.evaluated_step = evaluated_step_;
}

void Progress::start(double now, double since_process_start) {
  interval_.start = rate_.start = before_.start = now_ = now;
  startup_seconds_ = since_process_start;
}

void Progress::check_finite(double loss, const std::string& what, std::int64_t step, double lr) const {
  if (std::isfinite(loss)) return;
  fail(ExitStatus::failed,
       "the {} is not finite at {}: training has diverged. A lower learning rate, warm-up "
       "(train.lr_schedule.warmup_steps) or clipping (train.clip_grad_norm) may help.",
       what, place(step, lr));
}

void Progress::stepped(std::int64_t step, double lr, const StepPlan& plan, const std::vector<LossSum>& losses,
                       const std::vector<StepTimes>& times, std::int64_t left_out) {
  const std::int64_t samples = plan.samples - left_out;
  double loss = 0;
  for (std::size_t m = 0; m < plan.micro_batches.size(); ++m) loss += losses[m].loss;
  if (samples > 0) last_loss_ = loss / static_cast<double>(samples);
  if (!std::isfinite(loss)) {
    const auto bad =
        std::find_if(losses.begin(), losses.end(), [](const LossSum& sum) { return !std::isfinite(sum.loss); });
    check_finite(loss, fmt::format("loss of micro-batch {}", bad - losses.begin()), step, lr);
  }
  interval_.loss += loss;
  interval_.samples += samples;
  interval_.skipped += left_out;
  if (least_ == 0) rate_.samples += plan.samples;
  lr_ = lr;
  steps_ = step + 1;
  took(times);
}

void Progress::took(const std::vector<StepTimes>& times) {
  for (const StepTimes& replica : times) add(interval_.times, replica, 1.0 / static_cast<double>(times.size()));
}

void Progress::skipped(std::int64_t step) {
  interval_.skipped += schedule_.plan(step).samples;
  rate_.samples += schedule_.plan(step).samples;
  steps_ = step + 1;
}

void Progress::rewound(std::int64_t step) {
  train_seconds_ += std::max(0.0, now_ - interval_.start);
  add(total_, interval_.times);
  interval_ = {};
  interval_.start = now_;
  rate_ = before_ = {.start = now_};
  steps_ = reported_ = step;
  last_loss_ = not_known;
  if (evaluated_step_ > step) {  // of weights that were given up
    tested_ = average_tested_ = {};
    evaluated_step_ = -1;
  }
}

std::string Progress::place(std::int64_t step, double lr) const {
  return fmt::format("step {} (epoch {:.2f}, learning rate {:g})", step, epochs(step), lr);
}

double Progress::samples_per_second() const {
  if (tells_rate()) return static_cast<double>(rate_.samples) / (now_ - rate_.start);
  return static_cast<double>(before_.samples + rate_.samples) / (now_ - before_.start);
}

StepReport Progress::interval_report() const {
  const auto samples = static_cast<double>(interval_.samples);
  return {.step = steps_,
          .epoch = epochs(steps_),
          .loss = interval_.samples > 0 ? interval_.loss / samples : not_known,
          .lr = lr_,
          .samples_per_second = samples_per_second(),
          .shares = shares(interval_.times),
          .async = async_,
          .loss_scale = loss_scale_};
}

bool Progress::report_if_due(std::int64_t steps, std::int64_t end, double now) {
  constexpr double kLivePeriod = 0.1;  // seconds
  now_ = now;
  if (interval_.samples + interval_.skipped == 0) return false;
  const bool due = steps / log_every_ > reported_ / log_every_ || steps == end;
  if (due) {
    const StepReport report = interval_report();
    train_seconds_ += now - interval_.start;
    add(total_, interval_.times);
    if (interval_.samples > 0) interval_loss_ = report.loss;
    reporter_.step(report);
    interval_ = {};
    interval_.start = now;
    if (tells_rate()) {
      before_ = rate_;
      rate_ = {.start = now};
    }
    reported_ = steps;
  } else if (now >= next_live_) {
    reporter_.live(interval_report());
  } else {
    return false;
  }
  next_live_ = now + kLivePeriod;
  return due;
}

EvalReport Progress::evaluated(std::int64_t steps, const Tested& weights, const Tested& average, double seconds) {
  tested_ = weights;
  average_tested_ = average;
  evaluated_step_ = steps;
  const EvalReport report{.step = steps,
                          .epoch = epochs(steps),
                          .test_loss = weights.loss,
                          .test_accuracy = weights.accuracy,
                          .seconds = seconds,
                          .train_seconds = train_seconds_ + std::max(0.0, now_ - interval_.start),
                          .ema_test_loss = average.loss,
                          .ema_test_accuracy = average.accuracy};
  reporter_.evaluated(report);
  for (double* start : {&interval_.start, &rate_.start, &before_.start})
    *start += seconds;  // time spent training counts
  return report;
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
  s.startup_seconds = startup_seconds_;
  // A run that fails does so within an interval.
  s.train_seconds = train_seconds_ + std::max(0.0, now_ - interval_.start);
  s.samples_per_second = s.train_seconds > 0 ? static_cast<double>(s.samples) / s.train_seconds : 0;
  s.final_loss = last_loss_;
  s.test_loss = tested_.loss;
  s.test_accuracy = tested_.accuracy;
  s.ema_test_loss = average_tested_.loss;
  s.ema_test_accuracy = average_tested_.accuracy;
  s.loss_scale = loss_scale_;
  StepTimes all = total_;
  add(all, interval_.times);
  s.shares = shares(all);
  return s;
}

}  // namespace dptrain

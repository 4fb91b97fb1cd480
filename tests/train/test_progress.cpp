#include <doctest/doctest.h>
#include <pty.h>
#include <stdlib.h>
#include <unistd.h>

#include <limits>

#include "core/error.h"
#include "train/progress.h"

namespace dptrain {

namespace {

JobSpec job_of_seven_steps() {
  JobSpec job;
  job.train.global_batch_size = 4;
  job.train.micro_batch_size = 2;
  job.train.steps = 7;
  job.log.every = Interval{.every = 3, .unit = Interval::Unit::steps};
  return job;
}

}  // namespace

TEST_CASE("losses are means over samples, of the last interval; samples are counted exactly") {
  const JobSpec job = job_of_seven_steps();
  const RunSchedule schedule(job, 10, 1);  // steps of 4, 4, 2 samples
  Reporter silent;
  Progress progress(job, schedule, silent);
  for (std::int64_t step = 0; step < 7; ++step) {
    const StepPlan& plan = schedule.plan(step);
    // The second loss of a short step is a left-over of the step before and must not count.
    const std::vector<LossSum> losses = {{.loss = static_cast<double>(step), .correct = 0},
                                         {.loss = 100, .correct = 0}};
    progress.stepped(step, 0.1, plan, losses, {StepTimes{.data = 1, .compute = 2, .reduce = 0.5, .wait = 0.5}});
    if (step == 0) progress.start(100, 0.5);
    progress.report_if_due(step + 1, 7, 101 + static_cast<double>(step));
  }
  progress.evaluated(7, {0.25, 0.75}, {}, 0.01);
  const Summary s = progress.summary();
  CHECK(s.steps == 7);
  CHECK(s.samples == 24);
  CHECK(s.epochs == doctest::Approx(7.0 / 3));
  CHECK(s.final_loss == doctest::Approx(106.0 / 4));  // the last interval is step 6 alone
  CHECK(s.train_seconds == doctest::Approx(7));       // from start() on, whatever was done before
  CHECK(s.startup_seconds == 0.5);
  CHECK(s.samples_per_second == doctest::Approx(24.0 / 7));
  CHECK(s.test_loss == 0.25);
  CHECK(s.test_accuracy == 0.75);
  CHECK(s.shares.data == doctest::Approx(0.25));
  CHECK(s.shares.compute == doctest::Approx(0.5));
  CHECK(s.shares.data + s.shares.compute + s.shares.reduce + s.shares.wait == doctest::Approx(1));
}

TEST_CASE("on a terminal there is a line long before the first log interval is over") {
  JobSpec job = job_of_seven_steps();
  job.train.steps = 1000;
  job.log.every = Interval{.every = 1000, .unit = Interval::Unit::steps};
  const RunSchedule schedule(job, 4, 1);
  int primary = -1, secondary = -1;
  REQUIRE(::openpty(&primary, &secondary, nullptr, nullptr, nullptr) == 0);
  std::FILE* terminal = ::fdopen(secondary, "w");
  REQUIRE(terminal != nullptr);
  ::setenv("TERM", "xterm", 1);
  {
    Reporter reporter({.output = terminal}, std::nullopt);
    Progress progress(job, schedule, reporter);
    progress.start(100, 0.5);
    for (std::int64_t step = 0; step < 3; ++step) {
      progress.stepped(step, 0.1, schedule.plan(step), {{.loss = 2, .correct = 0}, {.loss = 4, .correct = 0}},
                       {StepTimes{}});
      progress.report_if_due(step + 1, 1000, 100 + 0.001 * static_cast<double>(step + 1));
    }
  }  // ends the line
  std::string text;
  for (char c; !text.ends_with('\n') && ::read(primary, &c, 1) == 1;) text += c;
  CHECK(text.find("loss 1.5000  lr 0.1  4,000 samples/s") != std::string::npos);
  CHECK(text.find("step 1/") != std::string::npos);
  CHECK(text.find("step 2/") == std::string::npos);  // a millisecond later there is nothing new to see
  std::fclose(terminal);
  ::close(primary);
}

TEST_CASE("a loss that is not finite is an error with its step") {
  const JobSpec job = job_of_seven_steps();
  const RunSchedule schedule(job, 10, 1);
  Reporter silent;
  for (const double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    Progress progress(job, schedule, silent);
    try {
      progress.stepped(3, 0.5, schedule.plan(3), {{.loss = 1, .correct = 0}, {.loss = bad, .correct = 0}},
                       {StepTimes{}});
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::failed);
      CHECK(std::string(error.what()).find("step 3 ") != std::string::npos);
    }
  }
}

}  // namespace dptrain

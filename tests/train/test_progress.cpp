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

TEST_CASE("losses are means over samples, samples are counted exactly") {
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
  CHECK(s.final_loss == doctest::Approx(106.0 / 4));  // step 6, which is short
  CHECK(s.train_seconds == doctest::Approx(7));       // from start() on, whatever was done before
  CHECK(s.startup_seconds == 0.5);
  CHECK(s.samples_per_second == doctest::Approx(24.0 / 7));
  CHECK(s.test_loss == 0.25);
  CHECK(s.test_accuracy == 0.75);
  CHECK(s.shares.data == doctest::Approx(0.25));
  CHECK(s.shares.compute == doctest::Approx(0.5));
  CHECK(s.shares.data + s.shares.compute + s.shares.reduce + s.shares.wait == doctest::Approx(1));
}

TEST_CASE("the final loss is the last step's, whatever is logged when and wherever the run was stopped") {
  Reporter silent;
  JobSpec job = job_of_seven_steps();
  const RunSchedule schedule(job, 8, 1);
  const auto step = [&](Progress& progress, std::int64_t k) {
    progress.stepped(k, 0.1, schedule.plan(k),
                     {{.loss = static_cast<double>(k), .correct = 0}, {.loss = 4, .correct = 0}}, {StepTimes{}});
    progress.report_if_due(k + 1, 7, 101 + static_cast<double>(k));
  };
  for (const double every : {1, 2, 3, 7, 100}) {
    CAPTURE(every);
    job.log.every = Interval{.every = every, .unit = Interval::Unit::steps};
    for (const std::int64_t stopped : {0, 5, 7}) {
      CAPTURE(stopped);
      RunState state;
      Progress first(job, schedule, silent);
      first.start(100, 0.5);
      for (std::int64_t k = 0; k < stopped; ++k) step(first, k);
      first.describe(state);
      state.step = stopped;
      if (stopped == 5) CHECK(state.final_loss == 2);
      Progress second(job, schedule, silent);
      second.resume(state);
      second.start(100, 0.5);
      for (std::int64_t k = stopped; k < 7; ++k) step(second, k);
      CHECK(second.summary().final_loss == 10.0 / 4);
    }
  }
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

TEST_CASE("where micro-batches end one by one, steps that end together did not take no time") {
  JobSpec job = job_of_seven_steps();
  job.train.steps = 12;
  job.log.every = Interval{.every = 2, .unit = Interval::Unit::steps};
  const RunSchedule schedule(job, 4, 2);  // two micro-batches of two samples
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  {
    Reporter reporter({.output = file}, std::nullopt);
    Progress progress(job, schedule, reporter);
    progress.count_micro_batches(4);
    progress.start(100, 0.5);
    const auto ended = [&](int micro_batches) {
      for (int k = 0; k < micro_batches; ++k) progress.micro_batch_ended(2);
    };
    const auto steps = [&](std::int64_t first, std::int64_t end, double now) {
      for (std::int64_t step = first; step < end; ++step) {
        const auto loss = static_cast<double>(step);
        progress.stepped(step, 0.1, schedule.plan(step), {{.loss = loss, .correct = 0}, {.loss = loss, .correct = 0}},
                         {StepTimes{}});
        progress.report_if_due(step + 1, 12, now);
      }
    };
    ended(7);  // all of four steps but one
    ended(1);
    steps(0, 4, 108);
    ended(4);
    steps(4, 6, 109);
    ended(7);
    steps(6, 8, 111);
    ended(1);  // another replica's, at nearly the same time
    steps(8, 10, 111 + 1e-7);
    progress.evaluated(10, {}, {}, 50);
    ended(4);
    steps(10, 12, 162);
  }
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text.push_back(static_cast<char>(c));
  std::fclose(file);
  // Each line has the steps and the loss of its own interval.
  CHECK(text.find("loss 0.2500  lr 0.1  2 samples/s\n") != std::string::npos);
  CHECK(text.find("loss 1.2500  lr 0.1  2 samples/s\n") != std::string::npos);
  CHECK(text.find("loss 2.2500  lr 0.1  8 samples/s\n") != std::string::npos);
  CHECK(text.find("loss 3.2500  lr 0.1  7 samples/s\n") != std::string::npos);
  CHECK(text.find("loss 4.2500  lr 0.1  8 samples/s\n") != std::string::npos);
  // It was too short for a rate of its own, and so counts here: two samples and eight in a second.
  CHECK_MESSAGE(text.find("loss 5.2500  lr 0.1  10 samples/s\n") != std::string::npos, text);
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

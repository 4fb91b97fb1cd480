// What a run says of itself, before its first step and at its end.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "core/clock.h"
#include "core/error.h"
#include "core/in_words.h"
#include "core/process.h"
#include "report/lines.h"
#include "spec/names.h"
#include "train/run.h"

namespace dptrain {

namespace {

std::string device_type(const Placement& placement) {
  return placement.type == DeviceType::cuda ? "cuda" : "cpu";
}

/// GPUs that replicas share count once.
int device_count(const Placement& placement) {
  if (placement.type == DeviceType::cpu) return placement.replicas;
  std::set<std::string> devices;
  for (const AcceleratorInfo& gpu : placement.gpus) devices.insert(gpu.id);
  return static_cast<int>(devices.size());
}

/// What is known of a run whether it has begun or not.
void add_circumstances(Summary& s, const JobSpec& job, const std::string& dataset, const RunSchedule& schedule,
                       const Placement& placement) {
  s.name = job.name;
  s.dataset = dataset;
  s.device_type = device_type(placement);
  s.mode = names::mode.name_of(job.mode);
  s.seed = job.seed;
  s.devices = device_count(placement);
  s.replicas = placement.replicas;
  s.micro_batches = static_cast<std::int64_t>(schedule.full().micro_batches.size());
  s.wall_seconds = seconds_since_start();
  s.peak_rss_bytes = peak_rss_bytes();
}

/// All of the summary but its status.
void summarise(Run& run) {
  const JobSpec& job = run.job;
  Summary& s = run.summary;
  const std::string hash = s.weights_hash, error = s.error;
  const std::int64_t skipped = s.skipped_steps;
  s = run.progress->summary();
  s.weights_hash = hash;
  s.error = error;
  s.skipped_steps = skipped;
  s.faults = run.faults.list();
  s.parameters = run.parameters;
  add_circumstances(s, job, run.data.name, run.schedule, run.placement);
  s.reproducible = run.strategy->reproducible(job);
  // A test set that was cut short leaves an earlier evaluation's figures, of other weights.
  if (run.cut_short) s.test_loss = s.test_accuracy = s.ema_test_loss = s.ema_test_accuracy = not_known;
  run.strategy->summarise(s);
}

/// What `expect` asks for and the run has not reached.
std::vector<std::string> misses(const ExpectSpec& expect, const Summary& s) {
  std::vector<std::string> missed;
  const auto [loss, accuracy] = that_counts(s);
  const char* const whose = std::isnan(s.ema_test_loss) ? "" : " of the averaged weights";
  if (expect.test_accuracy && !(accuracy >= *expect.test_accuracy)) {
    missed.push_back(fmt::format("test accuracy {}{} is below the {:.6g}% that expect.test_accuracy asks for",
                                 accuracy_text(accuracy), whose, 100 * *expect.test_accuracy));
  }
  if (expect.test_loss && !(loss <= *expect.test_loss)) {
    missed.push_back(fmt::format("test loss {:.6g}{} is above the {:.6g} that expect.test_loss asks for", loss, whose,
                                 *expect.test_loss));
  }
  return missed;
}

}  // namespace

Summary summary_before(const JobSpec& job, const DatasetInfo& info, const Placement& placement, std::int64_t steps) {
  const RunSchedule schedule(job, info.train_samples, placement.replicas);
  Summary s;
  add_circumstances(s, job, info.name, schedule, placement);
  s.reproducible = make_strategy(job)->reproducible(job);
  s.steps = steps;
  s.epochs = static_cast<double>(steps) / static_cast<double>(schedule.steps_per_epoch());
  s.samples = schedule.samples_before(steps);
  s.train_seconds = s.samples_per_second = not_known;
  return s;
}

RunPlan describe(const Run& run, const ParameterTable& table) {
  const JobSpec& job = run.job;
  RunPlan plan;
  plan.name = job.name;
  plan.job_file = job.file;
  plan.seed = job.seed;
  plan.dataset = run.data.name;
  plan.dataset_location = run.data.location;
  plan.train_samples = run.data.train->size();
  plan.test_samples = run.data.test->size();
  plan.classes = run.data.train->classes();
  plan.sample_shape = run.data.train->shape();
  plan.device_type = device_type(run.placement);
  plan.devices = device_count(run.placement);
  plan.replicas = run.placement.replicas;
  plan.threads_per_replica = job.devices.threads_per_replica;
  plan.parameters = table.elements();
  plan.precision = names::precision.name_of(job.train.precision);
  plan.communication = names::communication.name_of(job.train.communication);
  plan.mode = names::mode.name_of(job.mode);
  if (job.mode == Mode::local_sgd) {
    plan.workers = job.local_sgd.workers;
    plan.sync_every = job.local_sgd.sync_every;
  }
  plan.reproducible = job.reproducible;
  plan.global_batch_size = job.train.global_batch_size;
  plan.step_samples = run.schedule.full().samples;
  plan.micro_batches = static_cast<std::int64_t>(run.schedule.full().micro_batches.size());
  plan.steps = run.schedule.steps();
  plan.first_step = run.first;
  plan.epochs = static_cast<double>(plan.steps) / static_cast<double>(run.schedule.steps_per_epoch());
  return plan;
}

void finish(Run& run) {
  summarise(run);
  Summary& s = run.summary;
  const bool stopped = run.cut_short || run.end < run.schedule.steps();
  const std::vector<std::string> missed = stopped ? std::vector<std::string>() : misses(run.job.expect, s);
  s.status = stopped ? RunStatus::stopped : missed.empty() ? RunStatus::done : RunStatus::expect_not_met;
  run.reporter.finished(s);
  for (const DrillSpec& drill : run.drills.missed(run.first, s.steps)) {
    // Of what goes wrong in other processes this one knows no more than what all of them decide about.
    const bool here = run.here.first <= drill.replica && drill.replica < run.here.last;
    if (!here && drill.kind != DrillKind::nan) continue;
    run.reporter.warning(fmt::format("the drill at step {} did not happen: replica {} had no micro-batch there",
                                     drill.at_step, drill.replica));
  }
  for (const auto& replica : run.replicas) {
    const std::string handicap = replica ? replica->handicap() : "";
    if (!handicap.empty()) run.reporter.warning(handicap);
  }
  for (const std::string& miss : missed) run.reporter.warning(miss);
}

namespace {

/// Standard error may be gone with a launcher: the run folder says it, too.
std::string text_of(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& reason) {
    return in_words(reason);
  } catch (...) {
    return {};
  }
}

}  // namespace

void leave_failed(Run& run) {
  if (run.progress == nullptr) return;
  const std::vector<FaultReport> unsettled = run.faults.note_unsettled();
  summarise(run);
  run.summary.weights_hash.clear();  // these weights are nobody's result
  run.summary.status = RunStatus::failed;
  if (run.summary.error.empty()) run.summary.error = text_of(run.group.error());
  const auto tell = [](const auto& say) {
    try {
      say();
    } catch (const Error&) {
      // The error that ended the run is the one to tell; this one may well be the same: a full disk.
    }
  };
  for (const FaultReport& report : unsettled) tell([&] { run.reporter.record(report); });
  tell([&] { run.reporter.failed(run.summary); });
}

std::string late_text(const Run& run, int rank, std::int64_t step) {
  return fmt::format(
      "replica {} has been at step {} for more than {:g} s (faults.step_deadline): the run is given up, with status {}",
      rank, step, *step_deadline(run.job, run.processes), static_cast<int>(ExitStatus::retry));
}

void leave_late(Run& run) {
  const auto [rank, step] = *run.threads.late;
  FaultReport report{.kind = "deadline", .action = "stop", .step = step, .replica = rank};
  report.message = run.summary.error = late_text(run, rank, step);
  try {
    run.reporter.fault(report);
  } catch (const Error&) {
    // A full disk, say: --json and the status have to be enough.
  }
  run.faults.note(std::move(report), steady_seconds());
  leave_failed(run);
  run.processes.let_first_end();
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(ExitStatus::retry));
}

}  // namespace dptrain

#include "train/faults/faults.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/clock.h"
#include "core/in_words.h"
#include "spec/reader.h"

namespace dptrain {

namespace {

[[noreturn]] void refuse(const SourceMark& at, const std::string& message) {
  throw Error(ExitStatus::usage, complaint(at, message));
}

/// Whether replicas take the micro-batches of this step one by one, each of which ends with its gradient in the host's
/// memory.
bool takes_micro_batches_alone(const JobSpec& job, std::int64_t step) {
  return job.mode == Mode::async || (job.mode == Mode::local_sgd && step >= job.local_sgd.warmup_sync_steps);
}

std::optional<double> step_deadline(const JobSpec& job, bool alone) {
  constexpr double kTogether = 60;
  if (job.faults.step_deadline || alone) return job.faults.step_deadline;
  return kTogether;
}

}  // namespace

void check_faults_fit(const JobSpec& job, const Placement& placement) {
  if (placement.type == DeviceType::cuda) {
    if (job.faults.on_replica_failure != OnReplicaFailure::stop)
      refuse(
          job.faults.on_replica_failure_at,
          "faults.on_replica_failure: continue needs replicas on the CPU, because an error of CUDA's is one of all its "
          "process: --set devices.type=cpu; with stop a retry with --resume goes on");
    if (host_decides(job) && job.train.precision == Precision::fp16) {
      refuse(job.faults.on_nan != OnNan::stop ? job.faults.on_nan_at : job.drills.front().at,
             "in precision: fp16 the loss scale leaves out steps that are not finite, and faults.on_nan: skip and "
             "rollback, and the "
             "drill nan, have no say: use bf16, or on_nan: stop");
    }
    for (const DrillSpec& drill : job.drills) {
      if (drill.kind == DrillKind::nan && job.mode != Mode::sync && !takes_micro_batches_alone(job, drill.at_step))
        refuse(drill.at, "this drill needs replicas on the CPU: --set devices.type=cpu");
    }
  }
  for (const DrillSpec& drill : job.drills) {
    if (drill.kind == DrillKind::stall && !drill.seconds && !step_deadline(job, placement.shares.size() == 1)) {
      refuse(drill.at,
             "a stall without 'seconds' lasts for ever in a single process: set its seconds, or faults.step_deadline, "
             "which ends the run");
    }
    if (drill.replica >= placement.replicas) {
      refuse(drill.at,
             fmt::format("there is no replica {}: this run has {}, counted from 0", drill.replica, placement.replicas));
    }
  }
}

bool host_decides(const JobSpec& job) {
  const auto spoils = [](const DrillSpec& drill) { return drill.kind == DrillKind::nan; };
  return job.mode == Mode::sync &&
         (job.faults.on_nan != OnNan::stop || std::any_of(job.drills.begin(), job.drills.end(), spoils));
}

std::optional<double> step_deadline(const JobSpec& job, const Communicator& processes) {
  return step_deadline(job, processes.alone());
}

bool may_reassign(const JobSpec& job, int replicas) {
  return replicas > 1 && (job.balance != Balance::off || job.faults.on_replica_failure == OnReplicaFailure::continue_);
}

void Faults::well(int rank, double bound, bool losses_are_finite) {
  Health& health = health_[static_cast<std::size_t>(rank)];
  health.bound = bound;
  health.losses_are_finite = losses_are_finite;
}

void Faults::failed(int rank, std::int64_t step, std::exception_ptr error) {
  Health& health = health_[static_cast<std::size_t>(rank)];
  health.error = std::move(error);
  health.news = true;
  health.step = step;
  health.since = steady_seconds();
  health.bound = 0;
  health.losses_are_finite = true;
}

bool Faults::any() const {
  // Sums of finite numbers are finite where the sum of their bounds is; half of the range is left for rounding.
  constexpr double kSafe = std::numeric_limits<float>::max() / 2;
  double bound = 0;
  bool good = true;
  for (const Health& health : health_) {
    bound += health.bound;
    good = good && !health.news && health.losses_are_finite;
  }
  return !good || !(bound < kSafe);
}

bool Faults::replica_failed() const {
  return std::any_of(health_.begin(), health_.end(), [](const Health& health) { return health.news; });
}

bool Faults::losses_are_finite() const {
  return std::all_of(health_.begin(), health_.end(), [](const Health& health) { return health.losses_are_finite; });
}

void Faults::rethrow_newest() const {
  std::size_t rank = 0;
  while (!health_[rank].news) ++rank;
  throw replica_error(static_cast<int>(rank), health_[rank].step, health_[rank].error);
}

std::vector<int> Faults::take_failed() {
  std::vector<int> failed;
  for (std::size_t r = 0; r < health_.size(); ++r) {
    if (health_[r].news) failed.push_back(static_cast<int>(r));
    health_[r].news = false;
  }
  return failed;
}

void Faults::note(FaultReport report, double began) {
  list_.push_back(std::move(report));
  began_.push_back(began);
}

std::vector<FaultReport> Faults::note_unsettled() {
  std::vector<FaultReport> all;
  for (const int rank : take_failed()) {
    const Health& health = health_[static_cast<std::size_t>(rank)];
    FaultReport report{.kind = "replica_failed", .action = "stop", .step = health.step, .replica = rank};
    report.message = replica_error(rank, health.step, health.error).what();
    all.push_back(report);
    note(std::move(report), health.since);
  }
  return all;
}

void Faults::remember(std::vector<FaultReport> history) {
  DPTRAIN_CHECK(list_.empty(), "a history after {} faults", list_.size());
  list_ = std::move(history);
  for (const FaultReport& report : list_) {
    began_.push_back(steady_seconds() - std::max(0.0, unix_seconds() - report.unix_time));
    if (recovered_ + 1 == began_.size() && std::isfinite(report.recovery_seconds)) ++recovered_;
  }
}

std::vector<FaultReport> Faults::recovered(std::int64_t step, double now) {
  std::vector<FaultReport> news;
  // In the order of the list: after a rollback the step that failed first comes first again.
  for (; recovered_ < list_.size() && list_[recovered_].step <= step; ++recovered_) {
    list_[recovered_].recovery_seconds = now - began_[recovered_];
    news.push_back(list_[recovered_]);
  }
  return news;
}

Error replica_error(int rank, std::int64_t step, const std::exception_ptr& error) {
  const std::string who = fmt::format("replica {} failed in step {}: ", rank, step);
  try {
    std::rethrow_exception(error);
  } catch (const Error& known) {
    return {known.status(), who + known.what()};
  } catch (const std::exception& other) {
    return {ExitStatus::failed, who + in_words(other)};
  } catch (...) {
    return {ExitStatus::failed, who + "no reason given"};
  }
}

}  // namespace dptrain

// Purpose: what a run tells, as plain values: the plan before the first step, a report a log interval, a report an
//   evaluation, and the summary. report/json.h and report/lines.h turn them into JSON and text.
// Thread safety: values. Invariants: a number that is not known (a test accuracy without a test set) is NaN; it becomes
//   null in JSON and is left out of the text.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "core/shape.h"

namespace dptrain {

inline constexpr double not_known = std::numeric_limits<double>::quiet_NaN();

/// Where the replicas' time went, each from 0 to 1; together 1.
struct TimeShares {
  double data = not_known;     ///< waiting for the loader
  double compute = not_known;  ///< forward and backward
  double reduce = not_known;   ///< adding gradient sums, a replica's own and all, and the update: one pass does both
  double wait = not_known;     ///< waiting for other replicas
};

/// Known before the first step.
struct RunPlan {
  std::string name;                ///< of the job
  std::filesystem::path job_file;  ///< as given
  std::uint64_t seed = 0;

  std::string dataset;
  std::string dataset_location;  ///< a folder, or "generated"
  std::int64_t train_samples = 0, test_samples = 0, classes = 0;
  Shape sample_shape;

  std::string device_type;  ///< "cpu" or "cuda"
  std::int64_t devices = 0, replicas = 0, threads_per_replica = 1;
  std::int64_t parameters = 0;
  std::string precision = "fp32";            ///< "tf32", "bf16", "fp16"
  std::string communication = "fp32";        ///< what gradients travel as between GPUs
  std::string mode;                          ///< "sync", "async", "local_sgd"
  std::int64_t workers = 0, sync_every = 0;  ///< of local_sgd
  bool reproducible = true;
  std::int64_t global_batch_size = 0;  ///< as the job says
  std::int64_t step_samples = 0;   ///< of a full step: fewer where the training set is smaller than the global batch
  std::int64_t micro_batches = 0;  ///< of a full step
  std::int64_t steps = 0;          ///< of the whole run
  std::int64_t first_step = 0;     ///< steps done before: where the run goes on
  double epochs = 0;               ///< of the whole run
};

/// What asynchronous updates have come to, from the beginning of the run.
struct AsyncReport {
  std::int64_t versions = 0;
  std::int64_t max_staleness = 0;         ///< in versions
  double mean_staleness = 0;              ///< likewise
  std::vector<std::int64_t> histogram{};  ///< how many gradients had a lag of k; entry 64 counts those above, too
  std::int64_t dropped = 0;               ///< gradients that were too stale
  std::int64_t skipped = 0;               ///< gradients that were not finite
  std::int64_t fallback_step = -1;        ///< from which on the run was synchronous; -1: it did not fall back
};

/// Of precision fp16: what gradients are scaled by, and what that has cost.
struct LossScaleReport {
  double scale = 1;
  std::int64_t skipped_steps = 0;  ///< whose updates were left out, from the beginning of the run
};

/// One log interval of training, or what there is of it so far; the event "train".
struct StepReport {
  std::int64_t step = 0;    ///< steps done
  double epoch = 0;         ///< epochs done, with fraction
  double loss = not_known;  ///< mean over the interval's samples
  double lr = 0;
  double samples_per_second = 0;                ///< over the interval
  TimeShares shares;                            ///< of the interval
  std::optional<AsyncReport> async{};           ///< in mode async
  std::optional<LossScaleReport> loss_scale{};  ///< where the precision is fp16
};

/// What a pass over the test set has found.
struct Tested {
  double loss = not_known;
  double accuracy = not_known;  ///< 0 to 1; not known where the task has no classes
};

/// What counts of a report, a summary or a checkpoint's state: where an average of the weights is kept, it is the
/// result.
template <class Figures>
Tested that_counts(const Figures& of) {
  const bool averaged = !std::isnan(of.ema_test_loss);
  return averaged ? Tested{of.ema_test_loss, of.ema_test_accuracy} : Tested{of.test_loss, of.test_accuracy};
}

/// One pass over the test set; the event "evaluate".
struct EvalReport {
  std::int64_t step = 0;
  double epoch = 0;
  double test_loss = not_known;
  double test_accuracy = not_known;  ///< 0 to 1; not known where the task has no classes
  double seconds = 0;
  double train_seconds = not_known;                                 ///< of training before it, as in the summary
  double ema_test_loss = not_known, ema_test_accuracy = not_known;  ///< with the weights' average, where one is kept
};

/// Something that went wrong, and what was done about it; the event "fault", and an entry of the summary's `faults`.
struct FaultReport {
  std::string kind;       ///< "not_finite", "replica_failed", "deadline"
  std::string action;     ///< "stop", "skip", "rollback", "continue"
  std::int64_t step = 0;  ///< in which it happened, counted from 0
  int replica = -1;       ///< -1: none in particular
  int micro_batch = -1;
  std::string parameter{};
  std::string message{};  ///< all of it in a sentence
  double recovery_seconds =
      not_known;                 ///< until the step, or one after it, was done well, in this process or a later one
  double unix_time = not_known;  ///< seconds; when it was told
};

/// Who runs how many micro-batches of a full step from now on; the event "assignment".
struct AssignmentReport {
  std::int64_t step = 0;                   ///< the first of them
  std::string reason;                      ///< "balance", "replica_failed"
  std::vector<int> micro_batches, before;  ///< by replica
  std::vector<double> seconds;             ///< that a micro-batch takes each; empty where it was not measured
};

enum class RunStatus {
  done,
  expect_not_met,  ///< ran to its end, below what `expect` asks for
  stopped,         ///< ended early by a signal
  failed,          ///< ended early by an error
};

/// What `mode: local_sgd` adds to the summary.
struct LocalSgdSummary {
  std::int64_t workers = 0, sync_every = 0;
  std::int64_t averages = 0;  ///< of the workers, so far
};

/// The result of a run: summary.json, and standard output with --json.
struct Summary {
  RunStatus status = RunStatus::done;
  std::string error{};  ///< why it failed, where it did
  std::string name, dataset, device_type, mode, weights_hash;
  std::uint64_t seed = 0;
  std::int64_t devices = 0, replicas = 0, micro_batches = 0, parameters = 0;
  bool reproducible = true;
  std::int64_t steps = 0;              ///< done
  double epochs = 0;                   ///< done
  std::int64_t samples = 0;            ///< trained on, each time counted
  double wall_seconds = 0;             ///< from process start to the summary
  double startup_seconds = not_known;  ///< from process start to the beginning of the first step
  double train_seconds = 0;            ///< in training steps alone
  double samples_per_second = 0;       ///< samples / train_seconds
  double final_loss = not_known, test_loss = not_known, test_accuracy = not_known;
  double ema_test_loss = not_known, ema_test_accuracy = not_known;  ///< with the weights' average, where one is kept
  TimeShares shares;                                                ///< of train_seconds
  std::int64_t peak_rss_bytes = 0;
  std::int64_t skipped_steps = 0;   ///< whose updates were left out
  std::vector<FaultReport> faults;  ///< in all parts of the run
  std::optional<LocalSgdSummary> local_sgd;
  std::optional<AsyncReport> async{};           ///< in mode async
  std::optional<LossScaleReport> loss_scale{};  ///< where the precision is fp16
};

}  // namespace dptrain

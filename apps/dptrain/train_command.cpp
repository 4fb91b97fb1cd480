#include "dptrain/train_command.h"

#include <string>

#include "core/error.h"
#include "core/in_words.h"
#include "dptrain/job_data.h"
#include "dptrain/same_run.h"
#include "dptrain/signals.h"
#include "dptrain/target.h"
#include "dptrain/text_file.h"
#include "dptrain/together.h"
#include "report/json.h"
#include "report/lines.h"
#include "report/reporter.h"
#include "train/checkpoint/first_weights.h"
#include "train/faults/faults.h"
#include "train/fit/fit.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/update_strategy.h"

namespace dptrain {

namespace {

/// A run goes on only as the same job. How long, on which devices, and what it reports may change.
void refuse_another_job(const std::filesystem::path& folder, const JobSpec& job) {
  const std::string difference = job_difference(weights_yaml(read_job(folder / "job.yaml")), job);
  if (difference.empty()) return;
  fail(ExitStatus::usage,
       "--resume: the run in {} is of another job: {}. Give it the spec it was started with, or choose another --out.",
       folder.string(), difference);
}

/// Nor from other first weights than it had. Returns their hash where they were a file's.
std::string refuse_other_first_weights(const std::filesystem::path& folder, const std::string& init_from) {
  std::string noted = noted_first_weights(folder);
  if (!init_from.empty() && hash_of_weights(init_from) != noted) {
    fail(ExitStatus::usage,
         "--resume --init-from {}: the run in {} began with {}. Leave --init-from out to go on with it, or choose "
         "another --out.",
         init_from, folder.string(), noted.empty() ? "the seed's weights" : "other weights");
  }
  return noted;
}

/// The run in the folder where that is complete: it has made as many steps as the job asks for.
struct CompleteRun {
  std::string json;    ///< its summary
  std::int64_t steps;  ///< it may have made more
  bool held;           ///< against what the job expects
};

std::optional<CompleteRun> complete_run(const std::filesystem::path& folder, const JobSpec& job,
                                        std::int64_t train_samples, const Placement& placement, Reporter& reporter) {
  std::string json = read_text(folder / "summary.json");
  if (json.empty()) return std::nullopt;
  while (json.ends_with('\n')) json.pop_back();
  try {
    const Summary s = parse_summary(json, (folder / "summary.json").string());
    const bool ended = s.status == RunStatus::done || s.status == RunStatus::expect_not_met;
    if (!ended || s.steps < RunSchedule(job, train_samples, placement.replicas).steps()) return std::nullopt;
    return CompleteRun{json, s.steps, read_job(folder / "job.yaml").expect == job.expect};
  } catch (const Error& error) {
    reporter.warning(error.what());  // the last checkpoint knows it as well
    return std::nullopt;
  }
}

/// The summary of a run that has come to an end and has weights, whatever it ended at.
std::optional<std::string> ended_summary(const std::filesystem::path& folder) {
  std::string json = read_text(folder / "summary.json");
  while (json.ends_with('\n')) json.pop_back();
  try {
    if (json.empty() || parse_summary(json, "").weights_hash.empty()) return std::nullopt;
    return json;
  } catch (const Error&) {
    return std::nullopt;
  }
}

/// The checkpoint to go on from, with a warning where its bits rest on something else than ours will.
std::shared_ptr<Checkpoint> checkpoint_to_resume(const std::filesystem::path& folder, const JobSpec& job,
                                                 const DatasetPair& data, const Placement& placement,
                                                 Reporter& reporter) {
  const auto warn = [&](const std::string& text) { reporter.warning(text); };
  std::optional<Checkpoint> checkpoint = newest_checkpoint(folder, warn);
  if (!checkpoint) {
    warn("no checkpoint to resume from: the run starts again");
    return nullptr;
  }
  const RunState& state = checkpoint->snapshot.state;
  if (const std::string difference = state_difference(state, job); !difference.empty()) {
    fail(ExitStatus::usage,
         "--resume: {} is of another job: {}. Take it out of the folder to go on from the one before.",
         checkpoint->folder.string(), difference);
  }
  if (const std::string difference = samples_difference(state, data); !difference.empty())
    fail(ExitStatus::usage, "--resume: {} is of other data: {}. Begin another run with these.",
         checkpoint->folder.string(), difference);
  if (const std::string difference = basis_difference(state.basis, basis_of(job, data, placement)); !difference.empty())
    warn(fmt::format("the weights may not get the bits of an uninterrupted run: {}", difference));
  reporter.message(fmt::format("resumed at step {} from {}", state.step, checkpoint->folder.string()));
  return std::make_shared<Checkpoint>(std::move(*checkpoint));
}

int status_of(const Summary& summary) {
  switch (summary.status) {
    case RunStatus::done:
      return static_cast<int>(ExitStatus::ok);
    case RunStatus::expect_not_met:
      return static_cast<int>(ExitStatus::expectation);
    case RunStatus::stopped:
    case RunStatus::failed:  // an error says that, not a summary
      break;
  }
  return stopped_status();
}

/// What a run to a target comes to, in a sentence and as the status.
int target_status(const Aimed& aimed, double target, Reporter& reporter) {
  const std::string found = fmt::format("{} after {:.2f} s of training", accuracy_text(that_counts(aimed.at).accuracy),
                                        aimed.at.train_seconds);
  reporter.message(aimed.reached ? fmt::format("reached {:g}%: {}", 100 * target, found)
                                 : fmt::format("missed {:g}%: {}", 100 * target, found));
  return static_cast<int>(aimed.reached ? ExitStatus::ok : ExitStatus::expectation);
}

/// The job, once it is known to be one for this machine, its data and the processes.
struct CheckedJob {
  JobSpec job;
  DatasetInfo info;
};

/// Nobody is told what --quiet and --json leave out, or what the first process has said.
DataOptions first_look(const TrainCommand& command, const JobSpec& job, const Communicator& processes,
                       const StopRequest& stop) {
  DataOptions options = data_options(job, stop, command.offline);
  if (command.quiet || command.json || processes.rank() != 0) options.progress = {};
  return options;
}

CheckedJob check_job(const TrainCommand& command, const Communicator& processes, const StopRequest& stop) {
  if (command.resume && command.fresh)
    fail(ExitStatus::usage, "--resume goes on with a run, --fresh replaces it: give one of them");
  if (command.resume && command.out.empty())
    fail(ExitStatus::usage, "--resume needs --out DIR: the folder of the run to go on with");
  CheckedJob checked{.job = read_job(command.job.file, command.job.overrides), .info = {}};
  if (command.target) aim(checked.job, *command.target);
  check_processes_fit(checked.job, processes);
  checked.info = inspect_dataset(checked.job.dataset, first_look(command, checked.job, processes, stop));
  check_data_fit(checked.job, checked.info.shape, checked.info.classes);
  if (!command.init_from.empty() && !std::filesystem::exists(command.init_from))
    fail(ExitStatus::usage, "--init-from {}: there is no such file", command.init_from);
  return checked;
}

/// The run folder, which the first process claims.
struct ClaimedFolder {
  std::optional<RunFolder> folder;  ///< the first process's
  std::filesystem::path path;
  bool continues = false;
};

ClaimedFolder claim_folder(const TrainCommand& command, const std::string& name, Communicator& processes) {
  ClaimedFolder claimed = agree(processes, [&] {
    ClaimedFolder mine;
    if (processes.rank() != 0) return mine;
    mine.folder.emplace(RunFolderOptions{.out = command.out, .fresh = command.fresh, .resume = command.resume}, name);
    mine.path = mine.folder->path();
    mine.continues = mine.folder->continues();
    return mine;
  });
  claimed.path = from_first(processes, claimed.path.string());
  claimed.continues = from_first(processes, claimed.continues ? 1 : 0) != 0;
  return claimed;
}

/// Processes but the first say nothing, and leave nothing.
ReportOptions report_options(const TrainCommand& command, const Communicator& processes) {
  // A launcher gives its processes terminals, whatever it writes to itself.
  if (processes.rank() == 0) return {.quiet = command.quiet, .lines = !processes.alone(), .json = command.json};
  std::FILE* nowhere = std::fopen("/dev/null", "w");
  if (nowhere == nullptr) fail(ExitStatus::failed, "cannot open /dev/null");
  return {.quiet = true, .json = false, .output = nowhere, .messages = nowhere};
}

/// The checkpoint that the first process chooses, in all of them.
std::shared_ptr<Checkpoint> checkpoint_of_all(const std::filesystem::path& folder, const JobSpec& job,
                                              const DatasetPair& data, const Placement& placement, Reporter& reporter,
                                              Communicator& processes) {
  std::shared_ptr<Checkpoint> checkpoint = agree(processes, [&] {
    return processes.rank() == 0 ? checkpoint_to_resume(folder, job, data, placement, reporter)
                                 : std::shared_ptr<Checkpoint>();
  });
  const std::int64_t step = from_first(processes, checkpoint ? checkpoint->snapshot.state.step : -1);
  if (step < 0 || processes.alone()) return checkpoint;
  return agree(processes, [&] {
    return checkpoint ? checkpoint : std::make_shared<Checkpoint>(read_checkpoint(checkpoint_folder(folder, step)));
  });
}

int train_in_folder(const TrainCommand& command, Communicator& processes, const CheckedJob& checked,
                    const Placement& placement, ClaimedFolder& claimed, const StopRequest& stop,
                    std::optional<Reporter>& reporting);

int train_job(const TrainCommand& command, Communicator& processes) {
  const StopRequest& stop = listen_to_signals();  // what is unpacked from now on, and the run folder, can be taken back
  CheckedJob checked = agree(processes, [&] { return check_job(command, processes, stop); });
  const JobSpec& job = checked.job;
  const DatasetInfo& info = checked.info;
  check_same_job(processes, job);
  const Placement placement = agree(processes, [&] {
    Placement found = place(job, info.train_samples, processes);  // refuses what this machine does not have
    make_strategy(job)->check(job, found, RunSchedule(job, info.train_samples, found.replicas));
    return found;
  });
  check_same_devices(processes, job, placement);
  if (const std::optional<double> deadline = step_deadline(job, processes)) processes.set_deadline(*deadline);

  std::optional<ClaimedFolder> claimed;
  std::optional<Reporter> reporter;  // once the folder can be its own
  // A run that took steps has said with --json how it ended. What is wrong with the job or its data is no end of a run.
  const auto tell_end = [&](RunStatus status, const std::string& error) {
    if (!reporter) reporter.emplace(report_options(command, processes), std::nullopt);
    const std::vector<std::int64_t> saved =
        claimed && claimed->continues ? checkpoint_steps(claimed->path) : std::vector<std::int64_t>();
    Summary summary = summary_before(job, info, placement, saved.empty() ? 0 : saved.front());
    summary.status = status;
    summary.error = error;
    reporter->unbegun(summary);
  };
  try {
    claimed.emplace(claim_folder(command, job.name, processes));
    return train_in_folder(command, processes, checked, placement, *claimed, stop, reporter);
  } catch (const Stopped&) {
    tell_end(RunStatus::stopped, fmt::format("ended by signal {} before its first step", stopped_status() - 128));
    return stopped_status();  // the reporter takes the empty run folder back
  } catch (const GroupAborted&) {
    const News* news = processes.news();
    tell_end(RunStatus::failed, news == nullptr ? "another process has failed" : news->text);
    throw;
  } catch (const Error& error) {
    if (error.status() == ExitStatus::failed || error.status() == ExitStatus::retry)
      tell_end(RunStatus::failed, error.what());
    throw;
  } catch (const std::exception& error) {
    tell_end(RunStatus::failed, in_words(error));
    throw;
  }
}

int train_in_folder(const TrainCommand& command, Communicator& processes, const CheckedJob& checked,
                    const Placement& placement, ClaimedFolder& claimed, const StopRequest& stop,
                    std::optional<Reporter>& reporting) {
  JobSpec job = checked.job;
  const DatasetInfo& info = checked.info;
  const std::filesystem::path& path = claimed.path;
  const bool continues = claimed.continues;
  CheckpointOptions checkpoints{.run_folder = path, .continues = continues, .init_from = command.init_from};
  if (continues) {
    checkpoints.first_weights = agree(processes, [&] {
      refuse_another_job(path, job);
      return refuse_other_first_weights(path, command.init_from);
    });
  }
  Reporter& reporter = reporting.emplace(report_options(command, processes), std::move(claimed.folder));
  if (continues) {
    const Aimed aimed = command.target ? look_back(path, *command.target) : Aimed{};
    std::optional<std::string> json;
    std::int64_t made = 0;  // the steps of a complete run that has yet to be held against `expect`
    if (processes.rank() == 0) {
      const std::optional<CompleteRun> complete = complete_run(path, job, info.train_samples, placement, reporter);
      if (complete && complete->held) json = complete->json;
      if (!json && aimed.reached) json = ended_summary(path);
      if (complete && !json) made = complete->steps;
    }
    // It is the same run, however few steps this job asks for.
    made = from_first(processes, made);
    if (made > RunSchedule(job, info.train_samples, placement.replicas).steps()) {
      job.train.steps = made;
      job.train.epochs.reset();
    }
    int status = 0;
    if (json) {
      const Summary summary = parse_summary(*json, (path / "summary.json").string());
      reporter.message(fmt::format("{}: this run is complete", path.string()));
      reporter.repeated(summary, *json);
      status = command.target ? target_status(aimed, *command.target, reporter) : status_of(summary);
    }
    if (from_first(processes, json ? 1 : 0) != 0) return status;
  }
  const DatasetPair data = agree(processes, [&] {
    DataOptions options = data_options(job, stop, command.offline);
    options.progress = [&](const std::string& line) { reporter.message(line); };
    options.warning = [&](const std::string& line) { reporter.warning(line); };
    DatasetPair opened = open_dataset(job.dataset, options, info);
    throw_if_stopped(&stop);
    return opened;
  });
  check_same_data(processes, data);
  if (continues) checkpoints.resume_from = checkpoint_of_all(path, job, data, placement, reporter, processes);
  if (continues && !checkpoints.resume_from && !checkpoints.first_weights.empty() && command.init_from.empty()) {
    fail(ExitStatus::usage,
         "--resume: the run in {} began with the weights of a file, and they were not saved: give --init-from again",
         path.string());
  }
  TrainOptions options{
      .processes = &processes, .stop = &stop, .stopped = stop_as, .checkpoints = std::move(checkpoints)};
  Aimed aimed;
  if (command.target) {
    options.enough = [&](const EvalReport& report) {
      aimed = {.reached = that_counts(report).accuracy >= *command.target, .at = report};
      return aimed.reached;
    };
  }
  const Summary summary = train(job, data, reporter, options);
  if (!command.target || stop_asked(&stop)) return status_of(summary);
  return target_status(aimed, *command.target, reporter);
}

}  // namespace

int run_training(const TrainCommand& command) {
  return run_together([&](Communicator& processes) {
    try {
      return train_job(command, processes);
    } catch (const Stopped&) {  // while data was looked for: an empty run folder is taken back
      return stopped_status();
    }
  });
}

void add_training(CLI::App& app, TrainCommand& command) {
  add_job_options(app, command.job);
  app.add_option("--out", command.out, "the run folder (default: runs/<name>/<UTC time>/)");
  app.add_flag("--fresh", command.fresh, "replace the run that is in the run folder");
  app.add_flag("--resume", command.resume,
               "go on with the run that is in the run folder; start one where there is none");
  app.add_option("--init-from", command.init_from, "the first weights, a safetensors file, instead of the seed's");
  app.add_option("--target", command.target,
                 "end at the first evaluation with this test accuracy, such as 0.985; status 4 where there is none");
  app.add_flag("--offline", command.offline, "download nothing");
  app.add_flag("--quiet", command.quiet, "no log");
  app.add_flag("--json", command.json, "no log; the summary as one JSON object on standard output");
}

}  // namespace dptrain

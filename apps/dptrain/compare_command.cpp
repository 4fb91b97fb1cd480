#include "dptrain/compare_command.h"

#include <fmt/chrono.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <limits>
#include <set>

#include "core/durable_file.h"
#include "core/error.h"
#include "dptrain/child.h"
#include "dptrain/job_data.h"
#include "dptrain/same_run.h"
#include "dptrain/signals.h"
#include "dptrain/target.h"
#include "dptrain/text_file.h"
#include "report/comparison.h"
#include "report/json.h"
#include "report/run_folder.h"
#include "spec/names.h"
#include "spec/settings.h"
#include "train/fit/fit.h"
#include "train/schedule.h"
#include "train/update_strategy.h"

namespace dptrain {

namespace fs = std::filesystem;

namespace {

/// A reader that has gone is no error.
void tell(const std::string& line) {
  std::fputs(fmt::format("{}\n", line).c_str(), stderr);
}

std::vector<std::string> modes_of(const CompareCommand& command) {
  std::vector<std::string> modes = command.modes;
  if (modes.empty()) {
    for (const std::string_view mode : names::mode.names()) modes.emplace_back(mode);
  }
  for (const std::string& mode : modes) {
    if (std::count(modes.begin(), modes.end(), mode) > 1)
      fail(ExitStatus::usage, "--modes: {} is given more than once", mode);
  }
  return modes;
}

/// What the command line sets for all modes is not the mode, and what it sets for one mode is for one that takes part.
void check_overrides(const CompareCommand& command, const std::vector<std::string>& modes) {
  for (const Override& override_ : command.job.overrides) {
    if (override_.path == "mode")
      fail(ExitStatus::usage,
           "{}: compare runs each of several modes; choose them by --modes, as in --modes sync,local_sgd",
           override_.flag);
    const std::string block = override_.path.substr(0, override_.path.find('.'));
    const Names all = names::mode.names();
    if (std::find(all.begin(), all.end(), block) == all.end() ||
        std::find(modes.begin(), modes.end(), block) != modes.end())
      continue;
    fail(ExitStatus::usage, "{} {}={}: {} is not one of the modes that are compared; add it to --modes, or remove this",
         override_.flag, override_.path, override_.value, block);
  }
}

/// The job in each mode, with its first seed. Errors: usage, those of all blocks of the spec included.
std::vector<JobSpec> jobs_of(const CompareCommand& command) {
  const std::vector<std::string> modes = modes_of(command);
  std::vector<JobSpec> jobs;
  for (const std::string& mode : modes) {
    std::vector<Override> overrides = command.job.overrides;
    overrides.push_back({"--modes", "mode", mode});
    jobs.push_back(read_job(command.job.file, overrides));
    aim(jobs.back(), command.target);
  }
  check_overrides(command, modes);
  return jobs;
}

ComparedMode compared_mode(const JobSpec& job, const DatasetInfo& info) {
  check_data_fit(job, info.shape, info.classes);
  const Placement placement = place(job, info.train_samples);
  make_strategy(job)->check(job, placement, RunSchedule(job, info.train_samples, placement.replicas));
  ComparedMode mode{.name = std::string(names::mode.name_of(job.mode)), .replicas = placement.replicas};
  mode.settings = settings_of(job, "train");
  const std::vector<Setting> own = settings_of(job, mode.name);
  mode.settings.insert(mode.settings.end(), own.begin(), own.end());
  return mode;
}

fs::path folder_for(const CompareCommand& command, const std::string& job) {
  if (!command.out.empty()) return command.out;
  return fs::path("runs") / job / fmt::format("compare-{:%Y-%m-%dT%H-%M-%SZ}", fmt::gmtime(std::time(nullptr)));
}

fs::path run_folder(const fs::path& folder, const JobSpec& job) {
  return folder / fmt::format("{}-seed-{}", names::mode.name_of(job.mode), job.seed);
}

/// Errors: usage where there is something in the folder that is not to be replaced or gone on with.
void check_folder(const CompareCommand& command, const fs::path& folder, const std::vector<JobSpec>& runs) {
  const fs::path result = folder / "comparison.json";
  if (fs::exists(result)) {
    if (!command.fresh && !command.resume) {
      fail(ExitStatus::usage,
           "{}: is there already; choose another --out, or give --resume to go on with the comparison, or --fresh to "
           "replace it",
           result.string());
    }
    if (!is_comparison(read_text(result)))
      fail(ExitStatus::usage, "{}: is no comparison, and will not be overwritten; choose another --out",
           result.string());
  }
  for (const JobSpec& job : runs) {
    const fs::path path = run_folder(folder, job);
    if (!fs::exists(path)) continue;
    const RunFolder there({.out = path, .fresh = command.fresh, .resume = command.resume}, job.name);
    if (!there.continues()) continue;
    const std::string difference = any_difference(read_job(path / "job.yaml"), job);
    if (difference.empty()) continue;
    fail(ExitStatus::usage,
         "--resume: the run in {} is of another job: {}. Give the comparison what it was started with, or choose "
         "another --out.",
         path.string(), difference);
  }
}

std::vector<std::string> arguments_of(const CompareCommand& command, const JobSpec& job, const fs::path& folder) {
  std::vector<std::string> arguments;
  for (const Override& override_ : command.job.overrides) {
    arguments.push_back(override_.flag);
    arguments.push_back(override_.flag == "--set" ? fmt::format("{}={}", override_.path, override_.value)
                                                  : override_.value);
  }
  for (const std::string& argument :
       {std::string("--mode"), std::string(names::mode.name_of(job.mode)), std::string("--seed"),
        fmt::format("{}", job.seed), std::string("--target"), fmt::format("{}", command.target), std::string("--out"),
        folder.string(), std::string("--quiet")})
    arguments.push_back(argument);
  if (command.fresh) arguments.emplace_back("--fresh");
  if (command.resume) arguments.emplace_back("--resume");
  if (command.offline) arguments.emplace_back("--offline");
  arguments.emplace_back("--");  // a file may have a command's name
  arguments.push_back(command.job.file);
  return arguments;
}

/// Somebody has asked a run to end: this process, or who sends signals to all processes of a job.
bool was_stopped(int status) {
  const int signal = status - 128;
  return signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGUSR1;
}

/// What a run that has reached its target or missed it leaves. Errors: failed where that cannot be read.
void read_outcome(const fs::path& folder, double target, ComparedRun& run) {
  const fs::path file = folder / "summary.json";
  const Summary summary = parse_summary(read_text(file), file.string());
  const Aimed aimed = look_back(folder, target);
  run.reached = aimed.reached && run.exit_status == 0;
  run.at = aimed.at;
  run.parts = aimed.parts;
  run.samples_per_second = summary.samples_per_second;
  run.weights_hash = summary.weights_hash;
}

ComparedRun run_once(const CompareCommand& command, const JobSpec& job, const fs::path& folder, const StopRequest& stop,
                     const std::function<void(const std::string&)>& warn) {
  ComparedRun run{.mode = std::string(names::mode.name_of(job.mode)), .seed = job.seed, .folder = folder.string()};
  try {
    ChildEnd end = run_child(arguments_of(command, job, folder), stop, warn);
    run.exit_status = end.status;
    if (end.status == 0 || end.status == static_cast<int>(ExitStatus::expectation)) {
      read_outcome(folder, command.target, run);
    } else {
      run.error = std::move(end.error);
    }
  } catch (const Error& error) {
    run.exit_status = static_cast<int>(ExitStatus::failed);
    run.error = error.what();
  }
  return run;
}

void print(const CompareCommand& command, const Comparison& comparison, std::ostream& out) {
  if (command.json) {
    fmt::print(out, "{}\n", comparison_json(comparison));
  } else {
    for (const std::string& line : comparison_lines(comparison)) fmt::print(out, "{}\n", line);
  }
}

}  // namespace

int compare_modes(const CompareCommand& command, std::ostream& out) {
  if (command.resume && command.fresh)
    fail(ExitStatus::usage, "--resume goes on with a comparison, --fresh replaces it: give one of them");
  if (command.resume && command.out.empty())
    fail(ExitStatus::usage, "--resume needs --out DIR: the folder of the comparison to go on with");
  const std::vector<JobSpec> jobs = jobs_of(command);
  const StopRequest& stop = listen_to_signals();
  const auto say = [&](const std::string& line) {
    if (!command.quiet) tell(line);
  };
  DataOptions options = data_options(jobs.front(), stop, command.offline);
  options.progress = say;
  const DatasetInfo info = inspect_dataset(jobs.front().dataset, options);
  if (jobs.front().seed > std::numeric_limits<std::uint64_t>::max() - static_cast<std::uint64_t>(command.seeds - 1))
    fail(ExitStatus::usage, "--seeds {}: there are not that many seeds from {} on", command.seeds, jobs.front().seed);
  Comparison comparison{.job = jobs.front().name,
                        .target = command.target,
                        .first_seed = jobs.front().seed,
                        .seeds = command.seeds,
                        .modes = {}};
  for (const JobSpec& job : jobs) comparison.modes.push_back(compared_mode(job, info));
  // Seed by seed, so that what else the machine does meets all modes alike.
  std::vector<JobSpec> runs;
  for (std::int64_t k = 0; k < command.seeds; ++k) {
    for (const JobSpec& job : jobs) {
      runs.push_back(job);
      runs.back().seed += static_cast<std::uint64_t>(k);
    }
  }
  const fs::path folder = folder_for(command, comparison.job), result = folder / "comparison.json";
  check_folder(command, folder, runs);

  try {
    open_dataset(jobs.front().dataset, options, info);  // fetched, and found to be sound, once for all runs
    throw_if_stopped(&stop);
  } catch (const Stopped&) {
    if (command.json) print(command, comparison, out);
    return stopped_status();
  }
  say(fmt::format("{} run{}, into {}", runs.size(), runs.size() == 1 ? "" : "s", folder.string()));
  std::set<std::string> warnings;  // of a mode, not of a seed, mostly: once is enough
  int stopped = 0;
  for (const JobSpec& job : runs) {
    const std::string_view mode = names::mode.name_of(job.mode);
    const std::string name = fmt::format("{}, seed {}", mode, job.seed);
    const auto warn = [&](const std::string& line) {
      if (warnings.insert(fmt::format("{}: {}", mode, line)).second) tell(fmt::format("{}: {}", name, line));
    };
    if (stop_asked(&stop)) stopped = stopped_status();
    if (stopped != 0) break;
    ComparedRun run = run_once(command, job, run_folder(folder, job), stop, warn);
    if (stop_asked(&stop) && !run.reached) {
      stopped = stopped_status();
      break;
    }
    if (was_stopped(run.exit_status)) {
      stopped = run.exit_status;
      break;
    }
    const auto status = static_cast<ExitStatus>(run.exit_status);
    if (status == ExitStatus::usage || status == ExitStatus::data)
      throw Error(status, fmt::format("{}: {}", name, run.error));
    say(fmt::format("{}: {}", name, outcome_text(run)));
    comparison.runs.push_back(std::move(run));
    write_file_atomically(result, comparison_json(comparison) + "\n");
  }
  if (stopped != 0) {
    say(fmt::format("ended by a signal after {} of {} runs; the same command with --out {} --resume goes on",
                    comparison.runs.size(), runs.size(), folder.string()));
    if (comparison.runs.empty() && !command.json) return stopped;  // a table of nothing
  }
  print(command, comparison, out);
  if (stopped != 0) return stopped;
  return static_cast<int>(comparison.reached() ? ExitStatus::ok : ExitStatus::expectation);
}

const CLI::App* add_compare(CLI::App& app, CompareCommand& command) {
  CLI::App* added = app.add_subcommand("compare", "train in several modes and compare their times to an accuracy");
  add_job_options(*added, command.job);
  added->get_option("JOB")->required();
  added->get_option("--mode")->group("");  // understood, to be refused with a reason
  added->add_option("--modes", command.modes, "those to compare, such as sync,local_sgd (default: all)")
      ->delimiter(',')
      ->type_name("MODE,...")
      ->type_size(1)
      ->allow_extra_args(false);  // JOB may follow
  added->add_option("--target", command.target, "the test accuracy to reach, such as 0.985")->required();
  added->add_option("--seeds", command.seeds, "how many runs a mode: the job's seed and those that follow it")
      ->check(CLI::Range(1, 1000));
  added->add_option("--out", command.out, "the folder of the runs (default: runs/<name>/compare-<UTC time>/)");
  added->add_flag("--fresh", command.fresh, "replace the runs that are there");
  added->add_flag("--resume", command.resume,
                  "go on with the comparison that is there: runs that are complete are not repeated, others go on");
  added->add_flag("--offline", command.offline, "download nothing");
  added->add_flag("--quiet", command.quiet, "nothing but the table");
  added->add_flag("--json", command.json, "one JSON object in place of the table");
  added->footer(
      "Batch and rate of one mode alone: `async: {train: {optimizer: {lr: 0.1}}}` in the job, or\n"
      "`--set async.train.optimizer.lr=0.1`; likewise sync.train and local_sgd.train.\n"
      "Exit status: 0 every run reached the target, 4 one did not (it missed, or failed), 2 usage or job spec,\n"
      "3 dataset missing or corrupt, 128+n ended by signal n. comparison.json holds what is known at any end.");
  return added;
}

}  // namespace dptrain

#include "dptrain/compare_command.h"

#include <fmt/chrono.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "data/open.h"
#include "dptrain/signals.h"
#include "report/comparison.h"
#include "spec/names.h"
#include "train/fit.h"
#include "train/trainer.h"

namespace dptrain {

namespace fs = std::filesystem;

namespace {

/// The job in each mode. Errors: usage, those of all blocks of the spec included.
std::vector<JobSpec> jobs_of(const CompareCommand& command) {
  if (!(command.target > 0 && command.target <= 1)) {
    fail(ExitStatus::usage, "--target {:g}: expected a test accuracy above 0 and at most 1, such as 0.985 for 98.5%",
         command.target);
  }
  for (const Override& override_ : command.job.overrides) {
    if (override_.path == "mode")
      fail(ExitStatus::usage, "{}: the modes to compare are those of --modes sync,local_sgd", override_.flag);
  }
  std::vector<std::string> modes = command.modes;
  if (modes.empty()) {
    for (const std::string_view mode : names::mode.names()) modes.emplace_back(mode);
  }
  std::vector<JobSpec> jobs;
  for (const std::string& mode : modes) {
    if (std::count(modes.begin(), modes.end(), mode) > 1)
      fail(ExitStatus::usage, "--modes: {} is given more than once", mode);
    std::vector<Override> overrides = command.job.overrides;
    overrides.push_back({"--modes", "mode", mode});
    jobs.push_back(read_job(command.job.file, overrides));
    jobs.back().expect = {};  // the target takes its place
  }
  return jobs;
}

fs::path folder_for(const CompareCommand& command, const std::string& job) {
  if (!command.out.empty()) return command.out;
  return fs::path("runs") / job / fmt::format("compare-{:%Y-%m-%dT%H-%M-%SZ}", fmt::gmtime(std::time(nullptr)));
}

/// Trains until the target is reached, or to the end. `job` has its mode and seed.
ComparedRun run_once(const CompareCommand& command, const JobSpec& job, const DatasetPair& data, const fs::path& folder,
                     const StopRequest& stop) {
  ComparedRun run;
  run.mode = names::mode.name_of(job.mode);
  run.seed = job.seed;
  RunFolder files({.out = folder / fmt::format("{}-seed-{}", run.mode, run.seed), .fresh = command.fresh}, job.name);
  run.folder = files.path().string();
  Reporter reporter({.quiet = true}, std::move(files));
  TrainOptions options{.stop = &stop, .checkpoints = {.run_folder = run.folder}};
  options.enough = [&](const EvalReport& report) {
    run.at = report;
    run.reached = report.test_accuracy >= command.target;
    return run.reached;
  };
  try {
    const Summary summary = train(job, data, reporter, options);
    run.samples_per_second = summary.samples_per_second;
    run.weights_hash = summary.weights_hash;
  } catch (const Error& error) {
    if (error.status() != ExitStatus::failed) throw;
    run.error = error.what();
    run.reached = false;
  }
  return run;
}

std::string outcome(const ComparedRun& run) {
  if (!run.error.empty()) return run.error;
  const std::string at = fmt::format("{:.2f}% after {:.2f} s of training, {:.2f} epochs", 100 * run.at.test_accuracy,
                                     run.at.train_seconds, run.at.epoch);
  return run.reached ? at : at + ": missed";
}

void write_text(const fs::path& file, const std::string& text) {
  std::ofstream out(file, std::ios::binary);
  out << text << '\n';
  if (!out.flush()) fail(ExitStatus::failed, "cannot write {}", file.string());
}

}  // namespace

int compare_modes(const CompareCommand& command, std::ostream& out) {
  const std::vector<JobSpec> jobs = jobs_of(command);
  const DatasetInfo info = inspect_dataset(jobs.front().dataset);
  Comparison comparison{.job = jobs.front().name, .target = command.target, .modes = {}, .runs = {}};
  for (const JobSpec& job : jobs) {
    check_data_fit(job, info.shape, info.classes);
    comparison.replicas = place(job, info.train_samples).replicas;
    comparison.modes.emplace_back(names::mode.name_of(job.mode));
  }
  const auto say = [&](const std::string& line) {
    if (!command.quiet) fmt::print(stderr, "{}\n", line);
  };
  if (!jobs.front().evaluate.every) {
    say("warning: evaluate.every is `end`: that a run has reached the target is seen at its end alone; "
        "--set evaluate.every=\"0.1 epochs\" looks more often");
  }

  const StopRequest& stop = listen_to_signals();
  const fs::path folder = folder_for(command, comparison.job), result = folder / "comparison.json";
  if (!command.fresh && fs::exists(result))
    fail(ExitStatus::usage, "{}: is there already; choose another --out, or give --fresh to replace it",
         result.string());
  DatasetPair data;
  try {
    data = open_dataset(jobs.front().dataset, {.offline = command.offline,
                                               .progress = say,
                                               .stop = &stop,
                                               .cache_bytes = jobs.front().data.cache_bytes,
                                               .unpack_bytes = jobs.front().data.unpack_bytes});
  } catch (const Stopped&) {
    return stopped_status();
  }
  // Seed by seed, so that what else the machine does meets all modes alike.
  for (std::int64_t k = 0; k < command.seeds; ++k) {
    for (JobSpec job : jobs) {
      if (stop_asked(&stop)) return stopped_status();
      job.seed += static_cast<std::uint64_t>(k);
      comparison.runs.push_back(run_once(command, job, data, folder, stop));
      if (stop_asked(&stop)) return stopped_status();
      const ComparedRun& run = comparison.runs.back();
      say(fmt::format("{}, seed {}: {}", run.mode, run.seed, outcome(run)));
    }
  }
  const std::string json = comparison_json(comparison);
  write_text(result, json);
  if (command.json) {
    fmt::print(out, "{}\n", json);
  } else {
    for (const std::string& line : comparison_lines(comparison)) fmt::print(out, "{}\n", line);
  }
  return static_cast<int>(comparison.reached() ? ExitStatus::ok : ExitStatus::expectation);
}

}  // namespace dptrain

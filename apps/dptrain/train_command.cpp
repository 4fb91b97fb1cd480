#include "dptrain/train_command.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>

#include "core/error.h"
#include "data/open.h"
#include "report/json.h"
#include "report/reporter.h"
#include "train/faults.h"
#include "train/fit.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/update_plan.h"

namespace dptrain {

namespace {

StopRequest stop_request{0};

void request_stop(int signal) {
  int none = 0;  // the first one says how the process ends
  stop_request.compare_exchange_strong(none, signal, std::memory_order_relaxed);
}

/// The first signal asks for an orderly end; a second one of the same kind has its usual effect. What the caller has us
/// ignore (`nohup`, `trap '' INT`) stays ignored.
void listen_to_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = request_stop;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
}

int stopped() {
  return 128 + stop_request.load();
}

std::string read_text(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Two texts that ought to be the same: "'lr: 0.1' there, 'lr: 0.2' here".
std::string first_difference(const std::string& there, const std::string& here) {
  std::istringstream a(there), b(here);
  for (std::string left, right;;) {
    const bool more_left = static_cast<bool>(std::getline(a, left)),
               more_right = static_cast<bool>(std::getline(b, right));
    if (!more_left) left.clear();
    if (!more_right) right.clear();
    if (left != right || (!more_left && !more_right)) return fmt::format("'{}' there, '{}' here", left, right);
  }
}

/// A run goes on only as the same job. How long, on which devices, and what it reports may change.
void refuse_another_job(const std::filesystem::path& folder, const JobSpec& job) {
  const std::string there = weights_yaml(read_job(folder / "job.yaml")), here = weights_yaml(job);
  if (there == here) return;
  fail(ExitStatus::usage,
       "--resume: the run in {} is of another job: {}. Give it the spec it was started with, or choose another --out.",
       folder.string(), first_difference(there, here));
}

/// The summary of the run in the folder where that is complete: it has made as many steps as the job asks for, and was held
/// against what the job expects.
std::optional<std::string> complete_summary(const std::filesystem::path& folder, const JobSpec& job,
                                            std::int64_t train_samples, Reporter& reporter) {
  std::string json = read_text(folder / "summary.json");
  if (json.empty() || read_job(folder / "job.yaml").expect != job.expect) return std::nullopt;
  while (json.ends_with('\n')) json.pop_back();
  try {
    const Summary s = parse_summary(json, (folder / "summary.json").string());
    const bool ended = s.status == RunStatus::done || s.status == RunStatus::expect_not_met;
    const std::int64_t steps = RunSchedule(job, train_samples, replica_count(job, train_samples)).steps();
    return ended && s.steps >= steps ? std::optional(json) : std::nullopt;
  } catch (const Error& error) {
    reporter.warning(error.what());  // the last checkpoint knows it as well
    return std::nullopt;
  }
}

/// The checkpoint to go on from, with a warning where its bits rest on something else than ours will.
std::shared_ptr<Checkpoint> checkpoint_to_resume(const std::filesystem::path& folder, const JobSpec& job,
                                                 const DatasetPair& data, Reporter& reporter) {
  const auto warn = [&](const std::string& text) { reporter.warning(text); };
  std::optional<Checkpoint> checkpoint = newest_checkpoint(folder, warn);
  if (!checkpoint) {
    warn("no checkpoint to resume from: the run starts again");
    return nullptr;
  }
  const Basis now = basis_of(job, data);
  for (const auto& [name, value] : checkpoint->snapshot.state.basis) {
    const auto same = std::find_if(now.begin(), now.end(), [&](const auto& fact) { return fact.first == name; });
    if (same != now.end() && same->second == value) continue;
    warn(fmt::format(
        "the weights may not get the bits of an uninterrupted run: the checkpoint rests on {} {}, this run on {}", name,
        value, same == now.end() ? "none" : same->second));
    break;
  }
  reporter.message(
      fmt::format("resumed at step {} from {}", checkpoint->snapshot.state.step, checkpoint->folder.string()));
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
  return stopped();
}

}  // namespace

int run_training(const TrainCommand& command) {
  if (command.resume && command.fresh)
    fail(ExitStatus::usage, "--resume goes on with a run, --fresh replaces it: give one of them");
  if (command.resume && command.out.empty())
    fail(ExitStatus::usage, "--resume needs --out DIR: the folder of the run to go on with");
  const JobSpec job = read_job(command.job.file, command.job.overrides);
  const DatasetInfo info = inspect_dataset(job.dataset);
  check_data_fit(job, info.shape, info.classes);
  const Placement placement = place(job, info.train_samples);
  check_faults_fit(job, placement);  // refuse what this machine does not have
  check_update_fits(job, placement);
  if (!command.init_from.empty() && !std::filesystem::exists(command.init_from))
    fail(ExitStatus::usage, "--init-from {}: there is no such file", command.init_from);

  listen_to_signals();  // before there is a folder to take back, and after all that need not be
  RunFolder folder({.out = command.out, .fresh = command.fresh, .resume = command.resume}, job.name);
  const std::filesystem::path path = folder.path();
  const bool continues = folder.continues();
  if (continues) refuse_another_job(path, job);
  Reporter reporter({.quiet = command.quiet, .json = command.json}, std::move(folder));
  if (continues) {
    if (const std::optional<std::string> json = complete_summary(path, job, info.train_samples, reporter)) {
      const Summary summary = parse_summary(*json, (path / "summary.json").string());
      reporter.message(fmt::format("{}: this run is complete", path.string()));
      reporter.repeated(summary, *json);
      return status_of(summary);
    }
  }
  DatasetPair data;
  try {
    data = open_dataset(job.dataset, {.offline = command.offline,
                                      .progress = [&](const std::string& line) { reporter.message(line); },
                                      .stop = &stop_request});
    throw_if_stopped(&stop_request);
  } catch (const Stopped&) {
    return stopped();  // the reporter takes the empty run folder back
  }
  CheckpointOptions checkpoints{.run_folder = path, .continues = continues, .init_from = command.init_from};
  if (continues) checkpoints.resume_from = checkpoint_to_resume(path, job, data, reporter);
  return status_of(train(job, data, reporter, {.stop = &stop_request, .checkpoints = std::move(checkpoints)}));
}

}  // namespace dptrain

#include "dptrain/verify_command.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "data/sampler.h"
#include "dptrain/job_data.h"
#include "dptrain/same_run.h"
#include "report/lines.h"
#include "spec/reader.h"
#include "train/checkpoint/checkpoint.h"
#include "train/checkpoint/first_weights.h"
#include "train/fit/fit.h"
#include "train/replica.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

namespace fs = std::filesystem;
using Say = std::function<void(const std::string&)>;

/// How often each sample of an epoch is trained on, counted from what every replica's loader is told to load.
void count_uses(const JobSpec& job, const RunSchedule& schedule, const DatasetPair& data, int replicas,
                std::vector<std::int32_t>& uses) {
  for (int rank = 0; rank < replicas; ++rank) {
    const Replica::Config config{.job = job, .schedule = schedule, .data = data, .rank = rank, .replicas = replicas};
    const Loader::Source next = micro_batch_source(config);
    std::vector<std::int64_t> ids(static_cast<std::size_t>(schedule.largest_batch()));
    while (const std::size_t count = next(ids).count) {
      for (std::size_t k = 0; k < count; ++k) ++uses[static_cast<std::size_t>(ids[k])];
    }
  }
}

bool check_coverage(const JobSpec& job, const DatasetPair& data, int replicas, const Say& say) {
  JobSpec one_epoch = job;
  one_epoch.train.steps.reset();
  one_epoch.train.epochs = 1;
  const RunSchedule schedule(one_epoch, data.train->size(), replicas);
  std::vector<std::int32_t> uses(static_cast<std::size_t>(data.train->size()), 0);
  count_uses(one_epoch, schedule, data, replicas, uses);
  const auto wrong = std::count_if(uses.begin(), uses.end(), [](std::int32_t n) { return n != 1; });
  say(fmt::format(
      "coverage        an epoch of {} steps on {} replica{}: {} samples, {}", grouped(schedule.steps()), replicas,
      replicas == 1 ? "" : "s", grouped(data.train->size()),
      wrong == 0 ? "each used exactly once" : fmt::format("{} of them NOT used exactly once", grouped(wrong))));
  return wrong == 0;
}

/// The checkpoints that can be read, oldest first.
struct States {
  std::vector<RunState> all;
  bool whole = true;  ///< none is damaged
};

States states_of(const fs::path& run, const JobSpec& job, const Say& say) {
  States states;
  for (const std::int64_t step : checkpoint_steps(run)) {
    const fs::path folder = checkpoint_folder(run, step);
    try {
      states.all.push_back(read_checkpoint(folder).snapshot.state);
    } catch (const Error& error) {
      say(fmt::format("damaged         {}", error.what()));
      states.whole = false;
      continue;
    }
    if (const std::string difference = state_difference(states.all.back(), job); !difference.empty())
      fail(ExitStatus::usage, "{} is of another job than the run's job.yaml: {}", folder.string(), difference);
  }
  std::reverse(states.all.begin(), states.all.end());
  return states;
}

/// The job without what costs time and no bit, for so many replicas.
JobSpec without_trouble(JobSpec job, int replicas) {
  job.faults.step_deadline.reset();
  const std::vector<std::int64_t> steps = nan_drill_steps(job);
  const bool ends = job.faults.on_nan == OnNan::stop;  // at the drill, which the part of the run after it was without
  std::erase_if(job.drills, [&](const DrillSpec& drill) { return ends || drill.kind != DrillKind::nan; });
  if (std::any_of(job.drills.begin(), job.drills.end(), [&](const DrillSpec& d) { return d.replica >= replicas; })) {
    job.drills.clear();  // whose gradient is spoilt changes no bit
    for (const std::int64_t step : steps) job.drills.push_back({.at_step = step, .replica = 0, .kind = DrillKind::nan});
  }
  return job;
}

/// "120,240" as numbers. Errors: usage.
std::vector<std::int64_t> parse_steps(const std::string& text) {
  std::vector<std::int64_t> steps;
  for (const char *at = text.data(), *end = at + text.size();; ++at) {
    const auto [rest, problem] = std::from_chars(at, end, steps.emplace_back());
    if (problem != std::errc() || (rest != end && *rest != ','))
      fail(ExitStatus::usage, "--steps {}: expected numbers of steps, as in --steps 120,240", text);
    if (rest == end) return steps;
    at = rest;
  }
}

/// The steps to reach again, in order.
std::vector<std::int64_t> targets_of(const VerifyCommand& command, const States& states) {
  std::vector<std::int64_t> there, wanted;
  for (const RunState& state : states.all) {
    if (state.step > 0) there.push_back(state.step);  // nothing leads to step 0
  }
  if (command.all) return there;
  if (command.steps.empty()) return there.empty() ? there : std::vector{there.back()};
  std::vector<std::int64_t> on_disk = checkpoint_steps(command.run);
  std::erase(on_disk, 0);
  std::sort(on_disk.begin(), on_disk.end());
  for (const std::int64_t step : parse_steps(command.steps)) {
    if (!std::binary_search(on_disk.begin(), on_disk.end(), step))
      fail(ExitStatus::usage, "--steps: there is no checkpoint of step {} in {}; there are those of {}", step,
           command.run, fmt::join(on_disk, ", "));
    if (std::find(there.begin(), there.end(), step) != there.end()) wanted.push_back(step);  // else it is damaged
  }
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  return wanted;
}

/// Trains from the checkpoint `from`, or where there is none from the seed.
Summary train_to(const fs::path& run, const JobSpec& job, const DatasetPair& data, const RunState* from,
                 std::int64_t step, const std::optional<RolledBack>& rolled_back = {}) {
  TrainOptions options;
  options.until = step;
  options.rolled_back = rolled_back;
  if (from != nullptr) {
    options.checkpoints.resume_from = std::make_shared<Checkpoint>(read_checkpoint(checkpoint_folder(run, from->step)));
  }
  Reporter silent;
  return train(job, data, silent, options);
}

/// As train_to(), where the run came from `from` to `to` and went back from behind that: what it came to the last time.
Summary train_after_rollback(const fs::path& run, JobSpec job, const DatasetPair& data, const RunState* from,
                             const RunState& to) {
  job.drills.clear();  // each is done once, and was
  return train_to(run, job, data, from, to.step, RolledBack{to.lr_factor, to.rollbacks});
}

/// From the checkpoint before `to`.
bool check_stretch(const fs::path& run, const JobSpec& job, const DatasetPair& data, const RunState* from,
                   const RunState& to, const Say& say) {
  const auto stretch = [&](const std::string& result) {
    say(fmt::format("steps           {} to {} again{}", grouped(from == nullptr ? 0 : from->step), grouped(to.step),
                    result));
  };
  if (from == nullptr && !noted_first_weights(run).empty()) {
    stretch(": NOT possible without checkpoints/step-0, which has the first weights");
    return false;
  }
  try {
    Summary summary = train_to(run, job, data, from, to.step);
    if (summary.weights_hash != to.weights_hash && to.rollbacks > (from == nullptr ? 0 : from->rollbacks))
      summary = train_after_rollback(run, job, data, from, to);
    const bool same = summary.weights_hash == to.weights_hash;
    stretch(fmt::format(" on {} replica{}: {} {}", summary.replicas, summary.replicas == 1 ? "" : "s",
                        summary.weights_hash, same ? "as saved" : fmt::format("NOT as saved: {}", to.weights_hash)));
    return same;
  } catch (const Error& error) {
    if (error.status() != ExitStatus::failed) throw;
    stretch(fmt::format(": NOT as saved: {}", error.what()));
    return false;
  }
}

}  // namespace

int verify_run(const VerifyCommand& command, const Say& say) {
  const fs::path run = command.run;
  if (!fs::exists(run / "job.yaml")) fail(ExitStatus::usage, "{}: holds no run: there is no job.yaml", run.string());
  JobSpec job = read_job(run / "job.yaml");
  if (job.mode == Mode::async)
    fail(ExitStatus::usage, "{}: a run in mode async: `dptrain replay` re-executes one that was recorded",
         run.string());
  if (command.devices) {  // read with as many as its drills are for
    job.devices.count = *command.devices;
    job.devices.at = SourceMark{.file = fmt::format("--devices {}", *command.devices), .excerpt = ""};
  }
  const States states = states_of(run, job, say);
  if (states.all.empty()) fail(ExitStatus::failed, "{}: there is no checkpoint to verify", run.string());
  const std::vector<std::int64_t> targets = targets_of(command, states);
  const DatasetPair data = open_data(job, command.offline);
  const int replicas = replica_count(job, data.train->size());
  job = without_trouble(std::move(job), replicas);

  if (const std::string difference = samples_difference(states.all.back(), data); !difference.empty())
    fail(ExitStatus::usage, "{}: the run was trained on other data: {}", run.string(), difference);
  bool good = check_coverage(job, data, replicas, say) && states.whole;
  if (const std::string difference = basis_difference(states.all.back().basis, basis_of(job, data));
      !difference.empty())
    say(fmt::format("warning         the weights may not get the bits they had: {}", difference));
  const RunState* from = nullptr;
  for (const RunState& state : states.all) {
    if (std::find(targets.begin(), targets.end(), state.step) != targets.end())
      good = check_stretch(run, job, data, from, state, say) && good;
    from = &state;
  }
  return static_cast<int>(good ? ExitStatus::ok : ExitStatus::failed);
}

const CLI::App* add_verify(CLI::App& app, VerifyCommand& command) {
  CLI::App* added = app.add_subcommand("verify", "train a stretch of a run again and compare the weights, to the bit");
  added->add_option("RUN", command.run, "the run folder")->required();
  added->add_option("--devices", command.devices, "how many replicas, however many the run had")
      ->check(CLI::Range(1, 4096));
  CLI::Option* all = added->add_flag("--all", command.all, "every stretch between two checkpoints, not only the last");
  added->add_option("--steps", command.steps, "N[,M...]: the checkpoints to reach again, from the ones before them")
      ->excludes(all);
  added->add_flag("--offline", command.offline, "download nothing");
  return added;
}

}  // namespace dptrain

#include "dptrain/verify_command.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "data/open.h"
#include "data/sampler.h"
#include "report/lines.h"
#include "spec/reader.h"
#include "train/checkpoint.h"
#include "train/fit.h"
#include "train/replica.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

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

bool check_coverage(const JobSpec& job, const DatasetPair& data, int replicas, std::ostream& out) {
  JobSpec one_epoch = job;
  one_epoch.train.steps.reset();
  one_epoch.train.epochs = 1;
  const RunSchedule schedule(one_epoch, data.train->size(), replicas);
  std::vector<std::int32_t> uses(static_cast<std::size_t>(data.train->size()), 0);
  count_uses(one_epoch, schedule, data, replicas, uses);
  const auto wrong = std::count_if(uses.begin(), uses.end(), [](std::int32_t n) { return n != 1; });
  fmt::print(out, "coverage        an epoch of {} steps on {} replica{}: {} samples, {}\n", grouped(schedule.steps()),
             replicas, replicas == 1 ? "" : "s", grouped(data.train->size()),
             wrong == 0 ? "each used exactly once" : fmt::format("{} of them NOT used exactly once", grouped(wrong)));
  return wrong == 0;
}

/// The checkpoints of a run, oldest first, by step and hash.
std::vector<RunState> states_of(const std::filesystem::path& run) {
  std::vector<RunState> states;
  for (const std::int64_t step : checkpoint_steps(run))
    states.push_back(read_checkpoint(checkpoint_folder(run, step)).snapshot.state);
  std::reverse(states.begin(), states.end());
  return states;
}

bool check_stretch(const std::filesystem::path& run, const JobSpec& job, const DatasetPair& data, std::int64_t from,
                   const RunState& to, std::ostream& out) {
  TrainOptions options;
  options.until = to.step;
  if (from > 0)
    options.checkpoints.resume_from = std::make_shared<Checkpoint>(read_checkpoint(checkpoint_folder(run, from)));
  Reporter silent;
  const Summary summary = train(job, data, silent, options);
  const bool same = summary.weights_hash == to.weights_hash;
  fmt::print(out, "steps           {} to {} again on {} replica{}: {} {}\n", grouped(from), grouped(to.step),
             summary.replicas, summary.replicas == 1 ? "" : "s", summary.weights_hash,
             same ? "as saved" : fmt::format("NOT as saved: {}", to.weights_hash));
  return same;
}

}  // namespace

int verify_run(const VerifyCommand& command, std::ostream& out) {
  const std::filesystem::path run = command.run;
  if (!std::filesystem::exists(run / "job.yaml"))
    fail(ExitStatus::usage, "{}: holds no run: there is no job.yaml", run.string());
  std::vector<Override> overrides;
  if (command.devices) overrides.push_back({"--devices", "devices.count", fmt::format("{}", *command.devices)});
  const JobSpec job = read_job(run / "job.yaml", overrides);
  const DatasetPair data =
      open_dataset(job.dataset, {.cache_bytes = job.data.cache_bytes, .unpack_bytes = job.data.unpack_bytes});
  const int replicas = replica_count(job, data.train->size());
  const std::vector<RunState> states = states_of(run);
  if (states.empty()) fail(ExitStatus::failed, "{}: there is no checkpoint to verify", run.string());

  bool good = check_coverage(job, data, replicas, out);
  for (const auto& [name, value] : states.back().basis) {
    for (const auto& [here, now] : basis_of(job, data)) {
      if (here == name && now != value)
        fmt::print(out, "warning         the run rests on {} {}, this machine on {}\n", name, value, now);
    }
  }
  // A run with one checkpoint is trained again from its first step.
  const std::size_t stretches = command.all || states.size() == 1 ? states.size() : 1;
  for (std::size_t k = states.size() - stretches; k < states.size(); ++k)
    good = check_stretch(run, job, data, k == 0 ? 0 : states[k - 1].step, states[k], out) && good;
  return static_cast<int>(good ? ExitStatus::ok : ExitStatus::failed);
}

}  // namespace dptrain

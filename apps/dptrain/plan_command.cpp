#include "dptrain/plan_command.h"

#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "core/clock.h"
#include "core/error.h"
#include "core/statistics.h"
#include "dptrain/device_counts.h"
#include "dptrain/job_data.h"
#include "report/scaling.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/backend.h"
#include "train/fit/fit.h"
#include "train/forecast/forecast.h"
#include "train/forecast/measure.h"
#include "train/forecast/profile.h"
#include "train/memory.h"
#include "train/replica.h"
#include "train/update_strategy.h"

namespace dptrain {

namespace {

constexpr int kRounds = 5;  // odd, for medians
/// Steps may be so long that a round takes longer than it should: then there are fewer of them.
constexpr double kPatience = 4;
/// This machine can run so many replicas a core and still be one that somebody would use.
constexpr int kMostACore = 2;

/// Errors: usage, of what no forecast is made for.
void check_plannable(const JobSpec& job, const Placement& placement) {
  if (job.mode != Mode::sync)
    fail(ExitStatus::usage, "plan: the forecast is of mode sync, and this job's mode is another: --mode sync");
  if (placement.type == DeviceType::cuda)
    fail(ExitStatus::usage, "plan profiles replicas on CPU cores: --set devices.type=cpu");
  if (const std::vector<LayerShape> norms = sync_norms(job.model); !norms.empty())
    throw Error(ExitStatus::usage,
                complaint(norms.front().at, "plan: replicas that meet at norms with sync: true are not forecast"));
  if (!job.train.micro_batch_size && !job.reproducible)
    fail(ExitStatus::usage,
         "plan: with reproducible: false and no train.micro_batch_size a micro-batch depends on the number of devices; "
         "--set train.micro_batch_size=N");
}

/// The job as one replica on this machine runs it. `devices` are what the forecast is about.
JobSpec job_of(const PlanCommand& command) {
  std::vector<Override> overrides = command.job.overrides;
  overrides.push_back({"plan", "devices.count", "1"});
  JobSpec job = read_job(command.job.file, overrides);
  if (job.devices.type == DeviceType::cuda)
    fail(ExitStatus::usage, "plan profiles replicas on CPU cores, and the job asks for GPUs: --set devices.type=cpu");
  return job;
}

struct Asked {
  const JobSpec& job;
  const RunSchedule& schedule;  // with one replica
  const ModelPlan& model;
  Link link;
  StepWork work;
  int cores = 1;
  std::vector<int> linked, crowded;  // numbers of devices: with a core each; sharing this machine's
};

ScalingRow row_of(const Asked& asked, const Forecast& forecast, const Dataset& data) {
  const RunSchedule schedule(asked.job, data.size(), forecast.devices);
  const int replicas = (forecast.devices + forecast.machines - 1) / forecast.machines;
  const std::int64_t sample_floats = data.shape().elements();
  const int workers = loader_workers(asked.job, replicas, schedule.largest_batch() * sample_floats, data.is_costly());
  std::int64_t memory = sync_memory(asked.job, schedule, asked.model, sample_floats, workers).bytes(replicas);
  if (forecast.machines > 1) {  // the slices that it gets, and the sum of all
    const std::int64_t flat = asked.work.floats * static_cast<std::int64_t>(sizeof(float));
    memory += forecast.traffic.sums * flat / forecast.machines + flat;
  }
  return {.devices = forecast.devices,
          .machines = forecast.machines,
          .shares_cores = forecast.shares_cores,
          .idle = forecast.idle,
          .micro_batches = forecast.most_micro_batches,
          .compute = forecast.compute,
          .reduce = forecast.reduce,
          .meet = forecast.meet,
          .link = forecast.link,
          .memory_bytes = memory,
          .sent_bytes = forecast.traffic.bytes()};
}

/// Steps that take about so long.
std::int64_t steps_for(double seconds, double step) {
  return std::clamp<std::int64_t>(std::llround(seconds / step), 2, 1'000'000);
}

/// The rounds of the profile, and with `measure` between them short runs at `counts`: by count, seconds of a step, one
/// a round.
std::map<int, std::vector<double>> run_rounds(Profiler& profiler, const Asked& asked, const DatasetPair& data,
                                              const std::vector<int>& counts, double seconds) {
  std::map<int, std::vector<double>> measured;
  const double end = steady_seconds() + kPatience * seconds * static_cast<double>(1 + counts.size());
  for (int round = 0; round < kRounds && (round == 0 || steady_seconds() < end); ++round) {
    profiler.sample(seconds / kRounds);
    for (const int count : counts) {
      const double step = forecast_here(profiler.profile(), asked.work, count).seconds();
      measured[count].push_back(measured_step_seconds(asked.job, data, count, steps_for(seconds / kRounds, step)));
    }
  }
  return measured;
}

Scaling forecast(const PlanCommand& command, const Asked& asked, const DatasetPair& data) {
  Profiler profiler(asked.job, data, asked.cores, asked.crowded.empty() ? 0 : asked.crowded.back());
  std::vector<int> here = asked.crowded;  // that this machine can run
  for (const int count : asked.linked)
    if (count <= std::min(asked.cores, asked.work.micro_batches)) here.push_back(count);
  std::sort(here.begin(), here.end());
  const auto measured = run_rounds(profiler, asked, data, command.measure ? here : std::vector<int>(), command.seconds);
  const MachineProfile profile = profiler.profile();

  std::vector<Forecast> linked;
  for (const int count : asked.linked) linked.push_back(forecast_linked(profile, asked.work, asked.link, count));
  const Knee knee = find_knee(linked);
  std::vector<Forecast> all = linked;
  for (const int count : asked.crowded) all.push_back(forecast_here(profile, asked.work, count));
  std::stable_sort(all.begin(), all.end(), [](const Forecast& a, const Forecast& b) {
    return std::pair(a.devices, a.machines) < std::pair(b.devices, b.machines);
  });

  Scaling scaling{.job = asked.job.name,
                  .parameters = asked.model.parameters.elements(),
                  .samples = asked.work.samples,
                  .micro_batches = asked.work.micro_batches,
                  .cores = asked.cores,
                  .link = link_text(asked.link),
                  .link_bytes_per_second = asked.link.bytes_per_second,
                  .link_latency = asked.link.latency,
                  .together = profile.together.replicas,
                  .rounds = profiler.rounds(),
                  .micro_batch_alone = profile.alone.load + profile.alone.micro_batch,
                  .micro_batch_together = profile.together.load + profile.together.micro_batch,
                  .add = profile.alone.add,
                  .update = profile.update,
                  .lost = profiler.lost(),
                  .one_device = forecast_here(profile, asked.work, 1).seconds(),
                  .rows = {},
                  .knee = knee.devices,
                  .knee_next = knee.next,
                  .knee_speed_up = knee.speed_up,
                  .worthwhile = kWorthwhile,
                  .measured = command.measure};
  for (const Forecast& row : all) {
    scaling.rows.push_back(row_of(asked, row, *data.train));
    const auto found = measured.find(row.devices);
    if (found != measured.end() && row.machines == 1) scaling.rows.back().measured_seconds = median(found->second);
  }
  return scaling;
}

}  // namespace

int plan_job(const PlanCommand& command, std::ostream& out) {
  const std::vector<int> counts = read_device_counts(command.devices);
  const Link link = read_link(command.link);
  const JobSpec job = job_of(command);
  const DatasetInfo info = inspect_data(job);
  check_data_fit(job, info.shape, info.classes);
  const Placement placement = place(job, info.train_samples);
  check_plannable(job, placement);
  const RunSchedule schedule(job, info.train_samples, 1);
  make_strategy(job)->check(job, placement, schedule);
  check_batches_fit(job, schedule);
  const DatasetPair data = open_data(job, command.offline, info);

  const std::unique_ptr<Backend> backend = make_backend(job, placement);
  const ModelPlan model = backend->plan(batch_sizes(schedule, info.test_samples));
  Asked asked{.job = job,
              .schedule = schedule,
              .model = model,
              .link = link,
              .work = step_work(job, schedule, model.parameters),
              .cores = std::max(1, usable_cores() / static_cast<int>(job.devices.threads_per_replica)),
              .linked = counts,
              .crowded = {}};
  for (const int count : counts) {
    if (count > asked.cores && count <= std::min(kMostACore * asked.cores, asked.work.micro_batches))
      asked.crowded.push_back(count);
  }
  const Scaling scaling = forecast(command, asked, data);
  if (command.json) {
    fmt::print(out, "{}\n", scaling_json(scaling));
  } else {
    for (const std::string& line : scaling_lines(scaling)) fmt::print(out, "{}\n", line);
  }
  return static_cast<int>(ExitStatus::ok);
}

const CLI::App* add_plan(CLI::App& app, PlanCommand& command) {
  CLI::App* added = app.add_subcommand("plan", "forecast step time, efficiency and memory on other numbers of devices");
  add_spec_options(*added, command.job);
  added->get_option("JOB")->required();
  added->add_option("--devices", command.devices, "numbers of devices, such as 1,2,4,...,1024")->capture_default_str();
  added->add_option("--link", command.link, "what joins machines: bits a second of each, and latency")
      ->capture_default_str();
  added->add_option("--seconds", command.seconds, "how long to profile, and to run at each number of replicas, about")
      ->check(CLI::Range(0.01, 3600.0))
      ->check([](const std::string& text) {  // NaN is in every range
        return text.find_first_not_of("+0123456789.eE-") == std::string::npos ? "" : "a number of seconds";
      })
      ->capture_default_str();
  added->add_flag("--measure", command.measure,
                  "hold the forecast against short runs, where this machine can run them");
  added->add_flag("--offline", command.offline, "download nothing");
  added->add_flag("--json", command.json, "one JSON object in place of the table");
  return added;
}

}  // namespace dptrain

#include "dpbench/step_profile.h"

#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "dpbench/random_dataset.h"
#include "nn/model.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "train/fit/fit.h"
#include "train/float_mode.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

struct Options {
  std::string config;
  std::vector<std::string> settings;
  std::int64_t replicas = 1, steps = 200, repeats = 20;
};

JobSpec read(const Options& options) {
  std::vector<Override> overrides{{"--replicas", "devices.count", std::to_string(options.replicas)},
                                  {"--steps", "train.steps", std::to_string(options.steps)},
                                  {"--steps", "log.every", fmt::format("{} steps", options.steps)},
                                  {"--steps", "evaluate", "{}"},
                                  {"--steps", "expect", "{}"}};
  for (const std::string& setting : options.settings) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos) fail(ExitStatus::usage, "--set takes key.path=value, not '{}'", setting);
    overrides.push_back({"--set", setting.substr(0, equals), setting.substr(equals + 1)});
  }
  return read_job(options.config, overrides);
}

/// The stages of one micro-batch, on this thread with nothing else.
std::vector<Model::StageTimes> profile_micro_batch(const JobSpec& job, const Dataset& data, std::int64_t batch,
                                                   std::int64_t repeats) {
  const auto kernels = make_cpu_kernels();
  Model model(job.model, *kernels, batch, compute_type(job.train.precision));
  model.prepare(std::vector{batch});
  const Buffer weights = Buffer::host_floats(model.parameters().floats());
  const Buffer gradients = Buffer::host_floats(model.parameters().floats());
  const Buffer x = Buffer::host_floats(batch * data.shape().elements());
  model.parameters().initialise(job.seed, weights.floats());
  model.bind(weights.floats());
  std::vector<std::int64_t> ids(static_cast<std::size_t>(batch));
  std::vector<std::int32_t> labels(ids.size());
  std::iota(ids.begin(), ids.end(), 0);
  data.gather(ids, x.floats(), labels.data());
  return model.profile(ids, x.floats(), labels.data(), gradients.floats(), static_cast<int>(repeats));
}

void print(const JobSpec& job, const std::vector<Model::StageTimes>& stages, std::int64_t batch,
           std::int64_t micro_batches, const Summary& run) {
  const auto micro = [](double seconds) { return seconds * 1e6; };
  fmt::print("{}: one micro-batch of {}, in microseconds (alone: the same kernels in a row, everything near)\n\n",
             job.name, batch);
  fmt::print("  {:<14} {:>10} {:>10} {:>12} {:>12}\n", "layer", "forward", "alone", "backward", "alone");
  Model::StageTimes sum;
  for (const Model::StageTimes& s : stages) {
    fmt::print("  {:<14} {:10.1f} {:10.1f} {:12.1f} {:12.1f}\n", s.kind, micro(s.forward), micro(s.forward_alone),
               micro(s.backward), micro(s.backward_alone));
    sum.forward += s.forward;
    sum.forward_alone += s.forward_alone;
    sum.backward += s.backward;
    sum.backward_alone += s.backward_alone;
  }
  fmt::print("  {:<14} {:10.1f} {:10.1f} {:12.1f} {:12.1f}\n\n", "sum", micro(sum.forward), micro(sum.forward_alone),
             micro(sum.backward), micro(sum.backward_alone));

  const double step = run.train_seconds / static_cast<double>(run.steps);
  const double each = static_cast<double>(micro_batches) / static_cast<double>(run.replicas);
  const double layers = each * (sum.forward + sum.backward), alone = each * (sum.forward_alone + sum.backward_alone);
  const double data = step * run.shares.data, reduce = step * run.shares.reduce, wait = step * run.shares.wait;
  fmt::print("a step of the trainer at {} replica{}, {:g} micro-batches each: {:.1f} us, {:.0f} samples/s\n",
             run.replicas, run.replicas == 1 ? "" : "s", each, micro(step), run.samples_per_second);
  const auto line = [&](const char* name, double seconds) {
    fmt::print("  {:<28} {:10.1f} us {:6.1f}%\n", name, micro(seconds), 100 * seconds / step);
  };
  line("layers, as above", layers);
  line("  their kernels alone", alone);
  line("loader", data);
  line("reduction and update", reduce);
  line("waiting for other replicas", wait);
  line("remainder", step - layers - data - reduce - wait);
}

}  // namespace

int profile_step(int argc, char** argv) {
  Options options;
  CLI::App app("Where a training step goes, on random data in memory.", "dpbench step");
  app.add_option("--config", options.config, "a job spec")->required();
  app.add_option("--replicas", options.replicas, "of the trainer's step")->check(CLI::Range(1, 4096));
  app.add_option("--steps", options.steps, "of the trainer")->check(CLI::Range(1, 1000000000));
  app.add_option("--repeats", options.repeats, "of each stage; the shortest time counts")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--set", options.settings, "key.path=value, as for dptrain");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitStatus::usage);
  }
  const JobSpec job = read(options);
  place(job, job.train.global_batch_size);  // refuses what these devices cannot do
  omp_set_num_threads(static_cast<int>(job.devices.threads_per_replica));
  flush_denormals();
  DatasetPair data;
  const std::int64_t classes = infer_shapes(job.model).back().elements();
  data.train = random_dataset(std::max<std::int64_t>(8192, 2 * job.train.global_batch_size), job.model.input, classes);
  data.test = random_dataset(1, job.model.input, classes);
  data.name = "random";

  const StepPlan plan = plan_step(job.train.global_batch_size, micro_batch_size(job, options.replicas),
                                  static_cast<int>(options.replicas));
  const std::int64_t batch = plan.micro_batches.front().count;
  const auto stages = profile_micro_batch(job, *data.train, batch, options.repeats);
  Reporter reporter;
  print(job, stages, batch, static_cast<std::int64_t>(plan.micro_batches.size()), train(job, data, reporter));
  return 0;
}

}  // namespace dptrain

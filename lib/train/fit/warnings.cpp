#include "train/fit/warnings.h"

#include <fmt/format.h>

#include <algorithm>

#include "optim/schedule.h"
#include "train/async/version_rates.h"

namespace dptrain {

namespace {

/// What is due at an interval comes at averages only.
void doubt_interval(const char* key, const std::optional<Interval>& every, const JobSpec& job,
                    const RunSchedule& schedule, std::vector<std::string>& found) {
  if (!every || schedule.steps_of(*every) % job.local_sgd.sync_every == 0) return;
  found.push_back(fmt::format(
      "{}: every {} steps is no multiple of local_sgd.sync_every: {}: what is due comes at the next average", key,
      schedule.steps_of(*every), job.local_sgd.sync_every));
}

}  // namespace

std::vector<std::string> warnings(const JobSpec& job, const RunSchedule& schedule, const Placement& placement) {
  std::vector<std::string> found;
  const std::int64_t warmup = job.train.schedule.warmup_steps, steps = schedule.steps();
  const std::int64_t updates = updates_of_run(job, schedule);
  if (warmup > 0 && warmup >= updates) {
    found.push_back(
        fmt::format("train.lr_schedule.warmup_steps: {} {} of warm-up in a run of {}: the learning rate does not reach "
                    "the optimizer's lr",
                    warmup, job.mode == Mode::async ? "versions" : "steps", updates));
  }
  const double scale = lr_scale(job.train, samples_of_update(job, schedule));
  if (scale >= 2 && warmup == 0 && !std::holds_alternative<OneCycleSchedule>(job.train.schedule.shape)) {
    found.push_back(fmt::format(
        "train.lr_scaling: the learning rate is {:g} times the optimizer's from the first step on; runs that scale it "
        "usually warm up (train.lr_schedule.warmup_steps)",
        scale));
  }
  if (job.model.loss == LossKind::cross_entropy && std::holds_alternative<SoftmaxSpec>(job.model.layers.back().op)) {
    found.push_back(
        "model.layers: the last layer is softmax, and the loss cross_entropy takes the softmax by itself: it is taken "
        "twice; remove the layer");
  }
  if (job.mode == Mode::local_sgd) {
    if (job.local_sgd.warmup_sync_steps >= steps) {
      found.push_back(
          fmt::format("local_sgd.warmup_sync_steps: all {} steps are synchronous, and no worker takes one", steps));
    }
    doubt_interval("evaluate.every", job.evaluate.every, job, schedule, found);
    doubt_interval("checkpoint.every", job.checkpoint.every, job, schedule, found);
  }
  const auto is_first = [&](const AcceleratorInfo& gpu) { return gpu.device == placement.gpus.front().device; };
  if (job.train.communication != Communication::fp32 && placement.shares.size() == 1 &&
      std::all_of(placement.gpus.begin(), placement.gpus.end(), is_first)) {
    found.push_back("train.communication: all replicas are on one GPU, and nothing travels: it has no effect");
  }
  for (const DrillSpec& drill : job.drills) {
    if (drill.at_step >= steps)
      found.push_back(fmt::format("drills: step {} is never reached in a run of {}", drill.at_step, steps));
  }
  for (std::string& warning : async_warnings(job, schedule)) found.push_back(std::move(warning));
  return found;
}

}  // namespace dptrain

#include "train/doubts.h"

#include <fmt/format.h>

#include "optim/schedule.h"

namespace dptrain {

std::vector<std::string> doubts(const JobSpec& job, const RunSchedule& schedule) {
  std::vector<std::string> found;
  const std::int64_t warmup = job.train.schedule.warmup_steps, steps = schedule.steps();
  if (warmup > 0 && warmup >= steps) {
    found.push_back(fmt::format(
        "train.lr_schedule.warmup_steps: {} steps of warm-up in a run of {}: the learning rate does not reach "
        "the optimizer's lr",
        warmup, steps));
  }
  const double scale = lr_scale(job.train);
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
  for (const DrillSpec& drill : job.drills) {
    if (drill.at_step >= steps)
      found.push_back(fmt::format("drills: step {} is never reached in a run of {}", drill.at_step, steps));
  }
  return found;
}

}  // namespace dptrain

#include "train/forecast/measure.h"

#include <cstdio>
#include <memory>

#include "core/error.h"
#include "train/schedule.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

/// The job for a run of so many steps that is timed and nothing else.
JobSpec timed(const JobSpec& job, int replicas, std::int64_t steps, std::int64_t samples) {
  JobSpec other = job;
  other.devices.type = DeviceType::cpu;
  other.devices.count = replicas;
  other.evaluate = {};
  other.checkpoint = {};
  other.expect = {};
  other.drills.clear();
  other.faults.step_deadline.reset();
  if (RunSchedule(other, samples, replicas).steps() < steps) {
    other.train.epochs.reset();
    other.train.steps = steps;
  }
  return other;
}

}  // namespace

double measured_step_seconds(const JobSpec& job, const DatasetPair& data, int replicas, std::int64_t steps) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> nowhere(std::fopen("/dev/null", "w"), &std::fclose);
  DPTRAIN_CHECK(nowhere != nullptr, "cannot open /dev/null");
  const JobSpec run = timed(job, replicas, steps, data.train->size());
  Reporter reporter({.quiet = true, .output = nowhere.get(), .messages = nowhere.get()}, std::nullopt);
  const Summary summary = train(run, data, reporter, {.until = steps});
  // An epoch's last step is a short one, and counts as the part of a full one that it is.
  const auto full = static_cast<double>(RunSchedule(run, data.train->size(), replicas).full().samples);
  return summary.train_seconds * full / static_cast<double>(summary.samples);
}

}  // namespace dptrain

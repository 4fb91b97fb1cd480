// Every schedule against torch.optim.lr_scheduler, from the golden file; and the ends that the file does not reach.
#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "interop/safetensors.h"
#include "optim/schedule.h"

using namespace dptrain;

namespace {

constexpr std::int64_t kSteps = 60;
constexpr double kBase = 0.4;

ScheduleSpec in_steps(auto shape, std::int64_t warmup_steps = 0, double warmup_start = 0) {
  return {.shape = shape, .unit = ScheduleUnit::step, .warmup_steps = warmup_steps, .warmup_start = warmup_start};
}

/// The settings of scripts/make_golden.
std::vector<std::pair<std::string, ScheduleSpec>> settings() {
  return {
      {"constant", in_steps(ConstantSchedule{})},
      {"constant_warmup", in_steps(ConstantSchedule{}, 7)},
      {"step", in_steps(StepSchedule{.step_size = 13, .gamma = 0.5})},
      {"step_warmup", in_steps(StepSchedule{.step_size = 20, .gamma = 0.1}, 10, 0.1)},
      {"multi_step", in_steps(MultiStepSchedule{.milestones = {5, 30, 31, 59}, .gamma = 0.3})},
      {"cosine", in_steps(CosineSchedule{})},
      {"cosine_min", in_steps(CosineSchedule{.min_lr = 0.01})},
      {"cosine_warmup", in_steps(CosineSchedule{.min_lr = 0.01}, 10, 0.25)},
      {"linear", in_steps(LinearSchedule{.end_factor = 0.1})},
      {"linear_warmup", in_steps(LinearSchedule{}, 12, 0.5)},
      {"one_cycle", in_steps(OneCycleSchedule{.max_lr = 0.4})},
      {"one_cycle_settings",
       in_steps(OneCycleSchedule{.max_lr = 0.7, .pct_start = 0.42, .div_factor = 10, .final_div_factor = 100})},
  };
}

}  // namespace

TEST_CASE("the learning rate scales with the global batch") {
  TrainSpec train;
  const std::int64_t batch = 1024;
  CHECK(lr_scale(train, batch) == 1);
  train.lr_scaling = LrScalingSpec{LrScalingRule::linear, 256};
  CHECK(lr_scale(train, batch) == 4);
  train.lr_scaling->rule = LrScalingRule::sqrt;
  CHECK(lr_scale(train, batch) == 2);
  train.lr_scaling->reference_batch_size = 4096;
  CHECK(lr_scale(train, batch) == 0.5);
  // Of every learning rate that a schedule gives, whatever it names itself.
  ScheduleSpec cosine{CosineSchedule{0.01}, ScheduleUnit::epoch, 2, 0.1};
  const ScheduleSpec cycle{OneCycleSchedule{.max_lr = 0.1}};
  for (const ScheduleSpec& spec : {cosine, cycle}) {
    const Schedule plain(spec, 0.1, 20, 10), scaled(spec, 0.1, 20, 10, 4);
    for (std::int64_t step = 0; step < 25; ++step) CHECK(scaled.lr(step) == 4 * plain.lr(step));
  }
}

TEST_CASE("sixty steps of each schedule agree with PyTorch's") {
  const SafetensorsFile golden = read_safetensors(DPTRAIN_TESTS_DIR "/golden/schedules.safetensors");
  std::set<std::string, std::less<>> tested;
  double worst = 0;
  for (const auto& [name, spec] : settings()) {
    CAPTURE(name);
    tested.insert(name);
    const Schedule schedule(spec, kBase, kSteps, 7);
    const auto expected = golden.floats(name);
    REQUIRE(expected.size() == kSteps);
    for (std::int64_t step = 0; step < kSteps; ++step) {
      CAPTURE(step);
      const double golden_lr = expected[static_cast<std::size_t>(step)];
      const double difference = std::abs(schedule.lr(step) - golden_lr);
      CHECK(difference <= 1e-6 * golden_lr);
      if (golden_lr > 0) worst = std::max(worst, difference / golden_lr);
    }
  }
  for (const auto& [name, tensor] : golden.tensors) CHECK(tested.contains(name));
  MESSAGE("learning rates within ", worst);
}

TEST_CASE("step sizes and milestones count in epochs where the unit is one") {
  ScheduleSpec spec{.shape = StepSchedule{.step_size = 2, .gamma = 0.5}, .unit = ScheduleUnit::epoch};
  const Schedule steps(spec, 1, 100, 10);
  CHECK(steps.lr(0) == 1);
  CHECK(steps.lr(19) == 1);
  CHECK(steps.lr(20) == 0.5);
  CHECK(steps.lr(45) == 0.25);
  spec.shape = MultiStepSchedule{.milestones = {1, 3}, .gamma = 0.5};
  const Schedule milestones(spec, 1, 100, 10);
  CHECK(milestones.lr(9) == 1);
  CHECK(milestones.lr(10) == 0.5);
  CHECK(milestones.lr(30) == 0.25);
}

TEST_CASE("a warm-up rises in equal steps, from 0 unless told otherwise, and may fill the run") {
  const Schedule schedule(in_steps(CosineSchedule{}, 4), 2, 4, 1);
  for (std::int64_t step = 0; step < 4; ++step)
    CHECK(schedule.lr(step) == doctest::Approx(0.5 * static_cast<double>(step)));
  const Schedule longer(in_steps(LinearSchedule{}, 100), 1, 4, 1);
  CHECK(longer.lr(3) == doctest::Approx(0.03));
}

TEST_CASE("after the run's last step the rate stays at its end") {
  CHECK(Schedule(in_steps(CosineSchedule{.min_lr = 0.1}), 1, 10, 1).lr(1000) == doctest::Approx(0.1));
  CHECK(Schedule(in_steps(LinearSchedule{.end_factor = 0.2}), 1, 10, 1).lr(1000) == doctest::Approx(0.2));
  const Schedule cycle(in_steps(OneCycleSchedule{.max_lr = 1}), 1, 10, 1);
  CHECK(cycle.lr(9) == doctest::Approx(1.0 / 25 / 1e4));
  CHECK(cycle.lr(1000) == cycle.lr(9));
}

TEST_CASE("one cycle at its limits: every rate is finite and within bounds") {
  for (const double pct_start : {0.0, 0.1, 0.25, 0.5, 1.0}) {
    for (const std::int64_t total : {1, 2, 3, 4, 10}) {
      CAPTURE(pct_start);
      CAPTURE(total);
      const Schedule cycle(in_steps(OneCycleSchedule{.max_lr = 2, .pct_start = pct_start}), 1, total, 1);
      for (std::int64_t step = 0; step < total; ++step) {
        CHECK(cycle.lr(step) >= 2.0 / 25 / 1e4 * 0.999);
        CHECK(cycle.lr(step) <= 2);
      }
    }
  }
  const Schedule implied(in_steps(OneCycleSchedule{.pct_start = 0.5}), 0.3, 10, 1);
  CHECK(implied.lr(4) == doctest::Approx(0.3));  // no max_lr of its own: the optimizer's rate is the peak
}

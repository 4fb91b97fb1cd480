// The `train:` block: how long, the batch, the optimizer and its learning rate.

#include <fmt/ranges.h>

#include <cmath>

#include "spec/blocks.h"
#include "spec/kinds.h"
#include "spec/names.h"
#include "spec/texts.h"

namespace dptrain {
namespace {

/// The optimizer's learning rate, as far as a schedule is concerned.
struct OptimizerLr {
  double value = 0;
  bool is_given = false;  ///< by the spec; otherwise it is the optimizer's default
};

enum class ScheduleKind { constant, step, multi_step, cosine, linear, one_cycle };

StepSchedule read_step(MapReader& map, ScheduleUnit& unit) {
  StepSchedule step;
  map.required("step_size", step.step_size, integer(1, kMaxCount));
  map.optional("gamma", step.gamma, number(kAboveZero));
  map.optional("unit", unit, choice(names::schedule_unit));
  return step;
}

MultiStepSchedule read_multi_step(MapReader& map, ScheduleUnit& unit) {
  MultiStepSchedule steps;
  map.required("milestones", steps.milestones, list_of<std::int64_t>(integer(1, kMaxCount), "ascending integers"));
  map.optional("gamma", steps.gamma, number(kAboveZero));
  map.optional("unit", unit, choice(names::schedule_unit));
  for (std::size_t i = 1; i < steps.milestones.size(); ++i) {
    if (steps.milestones[i] > steps.milestones[i - 1]) continue;
    map.error("milestones", fmt::format("{} follows {}", steps.milestones[i], steps.milestones[i - 1]),
              "milestones must ascend");
    break;
  }
  return steps;
}

/// The highest learning rate is the optimizer's lr. `max_lr` is a second name for it, so that either may be left out:
/// see schedules_lr().
OneCycleSchedule read_one_cycle(MapReader& map, const OptimizerLr& lr) {
  OneCycleSchedule cycle;
  cycle.max_lr = lr.value;
  map.optional("max_lr", cycle.max_lr, number(kAtLeastZero));
  map.optional("pct_start", cycle.pct_start, number({0, 1, true, true}));
  map.optional("div_factor", cycle.div_factor, number({1, 1e9, false, false}));
  map.optional("final_div_factor", cycle.final_div_factor, number({1, 1e9, false, false}));
  if (lr.is_given && cycle.max_lr != lr.value) {
    map.error("max_lr", fmt::format("{} is not the optimizer's lr of {}", cycle.max_lr, lr.value),
              "both are the highest learning rate of one_cycle: remove max_lr, or make them equal");
  }
  return cycle;
}

CosineSchedule read_cosine(MapReader& map, double lr) {
  CosineSchedule cosine;
  map.optional("min_lr", cosine.min_lr, number(kAtLeastZero), {"eta_min"});
  if (cosine.min_lr > lr) {
    map.error("min_lr", fmt::format("{} is above the optimizer's lr of {}", cosine.min_lr, lr),
              "the schedule descends to it");
  }
  return cosine;
}

ScheduleSpec read_schedule(const Value& block, const OptimizerLr& lr) {
  static const Choices<ScheduleKind> choices{
      "schedule",
      {{"constant", ScheduleKind::constant},
       {"step", ScheduleKind::step},
       {"multi_step", ScheduleKind::multi_step},
       {"cosine", ScheduleKind::cosine},
       {"linear", ScheduleKind::linear},
       {"one_cycle", ScheduleKind::one_cycle}},
      {"exponential", "polynomial", "plateau", "inverse_sqrt", "cosine_restarts"}};
  ScheduleSpec schedule;
  MapReader map(block, {.title = block_title(block, "lr_schedule"), .main = "name"});
  const auto kind = read_kind(map, choices);
  if (!kind) return schedule;
  switch (*kind) {
    case ScheduleKind::constant:
      schedule.shape = ConstantSchedule{};
      break;
    case ScheduleKind::step:
      schedule.shape = read_step(map, schedule.unit);
      break;
    case ScheduleKind::multi_step:
      schedule.shape = read_multi_step(map, schedule.unit);
      break;
    case ScheduleKind::cosine:
      schedule.shape = read_cosine(map, lr.value);
      break;
    case ScheduleKind::one_cycle:
      schedule.shape = read_one_cycle(map, lr);
      break;
    case ScheduleKind::linear: {
      LinearSchedule linear;
      map.optional("end_factor", linear.end_factor, number(kFraction));
      schedule.shape = linear;
    }
  }
  const bool steps = map.optional("warmup_steps", schedule.warmup_steps, integer(0, kMaxCount));
  map.optional("warmup_start", schedule.warmup_start, number(kFraction));
  map.finish();
  if (*kind == ScheduleKind::one_cycle && schedule.warmup_steps > 0) {
    map.error("warmup_steps", "one_cycle rises by itself",
              "set pct_start, the share of the run in which it rises; remove warmup_steps");
  } else if (steps && schedule.warmup_steps == 0 && schedule.warmup_start != 0) {
    map.error("warmup_start", "has no effect without warmup_steps", "set warmup_steps, or remove it");
  }
  return schedule;
}

std::optional<LrScalingSpec> read_lr_scaling(const Value& block) {
  LrScalingSpec scaling;
  MapReader map(block, {.main = "name"});
  const std::size_t before = block.diagnostics.problems();
  const auto rule = read_kind(map, names::lr_scaling);
  if (rule) scaling.rule = *rule;
  map.optional("reference_batch_size", scaling.reference_batch_size, integer(1, kMaxExtent));
  if (!map.has("reference_batch_size"))
    map.missing("reference_batch_size", "the global_batch_size that the optimizer's lr is meant for");
  map.finish();
  if (block.diagnostics.problems() != before) return std::nullopt;
  return scaling;
}

std::optional<EmaSpec> read_ema(const Value& block) {
  EmaSpec ema;
  MapReader map(block, {.main = "decay"});
  const std::size_t before = block.diagnostics.problems();
  map.required("decay", ema.decay, number(kBelowOne));
  map.finish();
  if (block.diagnostics.problems() != before) return std::nullopt;
  return ema;
}

/// A power of two, which leaves every bit of a mantissa as it is.
std::optional<double> read_scale(const Value& value) {
  constexpr double kMost = 0x1p30;
  const std::optional<double> scale = number({0x1p-20, kMost, false, false})(value);
  if (!scale) return std::nullopt;
  int exponent = 0;
  if (std::frexp(*scale, &exponent) == 0.5) return scale;
  value.expected("a power of two", fmt::format("write {} or {}", std::ldexp(0.5, exponent), std::ldexp(1.0, exponent)));
  return std::nullopt;
}

std::optional<LossScaleSpec> read_loss_scale(const Value& block) {
  LossScaleSpec scale;
  MapReader map(block, {.main = "init_scale"});
  const std::size_t before = block.diagnostics.problems();
  map.optional("init_scale", scale.init_scale, read_scale);
  map.optional("growth_interval", scale.growth_interval, integer(1, kMaxCount));
  map.optional("min_scale", scale.min_scale, read_scale);
  map.finish();
  if (block.diagnostics.problems() == before && scale.min_scale > scale.init_scale)
    map.error("min_scale", fmt::format("{} is above the init_scale of {}", scale.min_scale, scale.init_scale),
              "the scale starts at init_scale and is halved down to min_scale");
  if (block.diagnostics.problems() != before) return std::nullopt;
  return scale;
}

double lr_of(const OptimizerSpec& optimizer) {
  return std::visit([](const auto& spec) { return spec.lr; }, optimizer);
}

/// What the block's schedule says of the optimizer's lr, looked up before the optimizer is read, because other defaults
/// go by the lr. What is wrong here the schedule's own reader says.
std::optional<double> schedules_lr(const Value& train) {
  const auto find = [](const Node* map, const char* key) {
    return map != nullptr && map->kind == Node::Kind::map ? map->find(key) : nullptr;
  };
  const Node* schedule = find(&train.node, "lr_schedule");
  const Node *name = find(schedule, "name"), *max_lr = find(schedule, "max_lr");
  if (name == nullptr || name->text != "one_cycle" || max_lr == nullptr) return std::nullopt;
  Diagnostics unheard;
  return number(kAtLeastZero)(Value{*max_lr, "", train.block_at, unheard});
}

}  // namespace

TrainSpec read_train(const Value& block) {
  TrainSpec train;
  MapReader map(block);
  map.optional("epochs", train.epochs, number({0, 1e6, true, false}));
  map.optional("steps", train.steps, integer(1, kMaxCount));
  if (map.has("epochs") && map.has("steps")) {
    map.error("steps", "a run has a number of epochs or of steps, not both", "remove 'epochs' or 'steps'");
  } else if (!map.has("epochs") && !map.has("steps")) {
    map.missing("epochs", "write 'epochs: N' or 'steps: N'");
  }
  const bool global = map.required("global_batch_size", train.global_batch_size, integer(1, kMaxExtent));
  const bool micro = map.optional("micro_batch_size", train.micro_batch_size,
                                  or_keyword<std::int64_t>("auto", integer(1, kMaxExtent)));
  if (global && micro && train.micro_batch_size.value_or(1) > train.global_batch_size) {
    map.error("micro_batch_size",
              fmt::format("{} is above the global_batch_size of {}", *train.micro_batch_size, train.global_batch_size),
              "micro-batches are parts of the global batch");
  }
  map.optional("precision", train.precision, choice(names::precision));
  train.precision_at = map.at("precision").outlive();
  map.optional("loss_scale", train.loss_scale, read_loss_scale);
  map.optional("communication", train.communication, choice(names::communication));
  train.communication_at = map.at("communication").outlive();
  bool lr_is_given = false;
  if (const std::optional<Value> optimizer = map.take("optimizer")) {
    const std::size_t before = block.diagnostics.problems();
    train.optimizer = read_optimizer(*optimizer, schedules_lr(block));
    train.optimizer_at = map.at("optimizer").outlive();
    const Node& node = optimizer->node;
    lr_is_given = block.diagnostics.problems() == before && node.kind == Node::Kind::map &&
                  (node.find("lr") != nullptr || node.find("learning_rate") != nullptr);
  } else {
    map.missing("optimizer", "write {name: sgd, lr: 0.1, momentum: 0.9}");
  }
  if (const std::optional<Value> schedule = map.take("lr_schedule"))
    train.schedule = read_schedule(*schedule, {lr_of(train.optimizer), lr_is_given});
  map.optional("lr_scaling", train.lr_scaling, or_keyword<LrScalingSpec>("none", read_lr_scaling));
  map.optional("ema", train.ema, or_keyword<EmaSpec>("none", read_ema));
  train.ema_at = map.at("ema").outlive();
  map.optional("clip_grad_norm", train.clip_norm, or_keyword<double>("none", number(kAboveZero)));
  map.optional("shuffle", train.shuffle, boolean);
  map.later("accumulate", "micro-batches accumulate by themselves: set micro_batch_size");
  map.later("averaging", "set ema: {decay: 0.999}");
  map.finish();
  return train;
}

namespace {

struct ScheduleSettings {
  std::string_view unit;

  std::string operator()(const ConstantSchedule&) const { return "name: constant"; }
  std::string operator()(const StepSchedule& step) const {
    return fmt::format("name: step, step_size: {}, gamma: {}, unit: {}", step.step_size, step.gamma, unit);
  }
  std::string operator()(const MultiStepSchedule& steps) const {
    return fmt::format("name: multi_step, milestones: [{}], gamma: {}, unit: {}", fmt::join(steps.milestones, ", "),
                       steps.gamma, unit);
  }
  std::string operator()(const CosineSchedule& cosine) const {
    return fmt::format("name: cosine, min_lr: {}", cosine.min_lr);
  }
  std::string operator()(const LinearSchedule& linear) const {
    return fmt::format("name: linear, end_factor: {}", linear.end_factor);
  }
  std::string operator()(const OneCycleSchedule& cycle) const {
    return fmt::format("name: one_cycle, max_lr: {}, pct_start: {}, div_factor: {}, final_div_factor: {}", cycle.max_lr,
                       cycle.pct_start, cycle.div_factor, cycle.final_div_factor);
  }
};

}  // namespace

std::string train_text(const TrainSpec& train) {
  const ScheduleSpec& schedule = train.schedule;
  std::string out = "train:\n";
  if (train.epochs) out += fmt::format("  epochs: {}\n", *train.epochs);
  if (train.steps) out += fmt::format("  steps: {}\n", *train.steps);
  out += fmt::format("  global_batch_size: {}\n", train.global_batch_size);
  out += fmt::format("  micro_batch_size: {}\n", value_or(train.micro_batch_size, "auto"));
  out += fmt::format("  precision: {}\n", names::precision.name_of(train.precision));
  // Where they have an effect, or the job sets them: what fp32 trains is not another job for settings that it never
  // had.
  if (train.precision == Precision::fp16 || train.loss_scale != LossScaleSpec{})
    out += fmt::format("  loss_scale: {{init_scale: {}, growth_interval: {}, min_scale: {}}}\n",
                       train.loss_scale.init_scale, train.loss_scale.growth_interval, train.loss_scale.min_scale);
  if (train.communication != Communication::fp32)
    out += fmt::format("  communication: {}\n", names::communication.name_of(train.communication));
  out += fmt::format("  optimizer: {}\n", optimizer_text(train.optimizer));
  out += fmt::format("  lr_schedule: {{{}, warmup_steps: {}, warmup_start: {}}}\n",
                     std::visit(ScheduleSettings{names::schedule_unit.name_of(schedule.unit)}, schedule.shape),
                     schedule.warmup_steps, schedule.warmup_start);
  out += fmt::format("  lr_scaling: {}\n", train.lr_scaling
                                               ? fmt::format("{{name: {}, reference_batch_size: {}}}",
                                                             names::lr_scaling.name_of(train.lr_scaling->rule),
                                                             train.lr_scaling->reference_batch_size)
                                               : "none");
  out += fmt::format("  ema: {}\n", train.ema ? fmt::format("{{decay: {}}}", train.ema->decay) : "none");
  out += fmt::format("  clip_grad_norm: {}\n", value_or(train.clip_norm, "none"));
  out += fmt::format("  shuffle: {}\n", train.shuffle);
  return out;
}

}  // namespace dptrain

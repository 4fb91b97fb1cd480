// read(to_yaml(job)) == job, for random jobs: to_yaml writes every key, and the reader reads each.

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <cmath>
#include <span>

#include "spec/shapes.h"
#include "spec_support.h"

namespace dptrain::testing {
namespace {

using rc::gen::inRange;

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *inRange<std::int64_t>(low, high + 1);
}
bool coin() {
  return between(0, 1) == 1;
}
/// In [low, high), with digits that no short decimal has.
double real(double low, double high) {
  return low + (high - low) * (static_cast<double>(between(0, 999983)) / 999984.0);
}
template <class T>
std::optional<T> maybe(T value) {
  return coin() ? std::optional<T>(value) : std::nullopt;
}
std::string name() {
  std::string text(1, 'n');
  text += *rc::gen::container<std::string>(rc::gen::elementOf(std::string("abzAZ019-_.")));
  text.resize(std::min<std::size_t>(text.size(), 20));
  return text;
}

template <class Window>
void random_window(Window& w) {
  w.kernel_height = between(1, 4), w.kernel_width = between(1, 4);
  w.stride_height = between(1, 3), w.stride_width = between(1, 3);
  w.padding_height = between(0, w.kernel_height / 2), w.padding_width = between(0, w.kernel_width / 2);
}

/// Recomputed blocks that begin and end anywhere, and others inside of them.
void random_blocks(std::span<LayerSpec> layers) {
  while (!layers.empty()) {
    const auto length = static_cast<std::size_t>(between(1, static_cast<std::int64_t>(layers.size())));
    if (coin()) {
      layers[0].recompute = {length};
      if (length > 1 && coin()) layers[0].recompute.push_back(length - 1);
      if (length > 2 && coin()) random_blocks(layers.subspan(1, length - 2));
    }
    layers = layers.subspan(length);
  }
}

void random_sync(std::vector<LayerSpec>& layers) {
  for (LayerSpec& layer : layers) {
    if (auto* norm = std::get_if<NormSpec>(&layer.op)) norm->sync = norm->kind == NormKind::batch && coin();
    if (auto* residual = std::get_if<ResidualSpec>(&layer.op)) random_sync(residual->layers);
  }
}

LayerSpec random_layer(const Shape& in, int depth = 0) {
  const auto init = static_cast<Initialiser>(between(0, 5));
  switch (between(0, depth < 3 ? 9 : 8)) {
    case 0:
      return {LinearSpec{between(1, 64), coin(), init}, {}};
    case 1: {
      Conv2dSpec conv;
      random_window(conv);
      conv.padding_height = std::min(conv.padding_height, conv.kernel_height - 1);
      conv.padding_width = std::min(conv.padding_width, conv.kernel_width - 1);
      conv.groups = coin() ? 1 : in[0];
      conv.out_channels = conv.groups * between(1, 3);
      conv.bias = coin();
      conv.init = init;
      return {conv, {}};
    }
    case 2: {
      Pool2dSpec pool;
      pool.kind = coin() ? PoolKind::max : PoolKind::average;
      random_window(pool);
      return {pool, {}};
    }
    case 3:
      return {DropoutSpec{real(0, 1)}, {}};
    case 4:
      return {ActivationSpec{ActivationKind::leaky_relu, real(-1, 1)}, {}};
    case 5:
      return {ActivationSpec{*rc::gen::element(ActivationKind::relu, ActivationKind::gelu, ActivationKind::tanh,
                                               ActivationKind::silu)},
              {}};
    case 6:
      return {SoftmaxSpec{}, {}};
    case 7: {
      NormSpec norm{.kind = *rc::gen::element(NormKind::batch, NormKind::group, NormKind::layer)};
      norm.epsilon = real(1e-7, 1e-3);
      if (norm.kind == NormKind::batch) norm.momentum = real(0, 1);
      if (norm.kind == NormKind::group) norm.groups = in[0];
      norm.affine = coin();
      return {norm, {}};
    }
    case 8:
      return {GlobalPoolSpec{}, {}};
    default: {
      ResidualSpec residual;
      residual.shortcut = *rc::gen::element(Shortcut::identity, Shortcut::pad, Shortcut::projection, Shortcut::layers);
      for (auto layers = between(1, 3); layers > 0; --layers) residual.layers.push_back(random_layer(in, depth + 1));
      if (coin()) random_blocks(residual.layers);
      if (residual.shortcut == Shortcut::layers) residual.shortcut_layers = residual.layers;
      return {residual, {}};
    }
  }
}

ModelSpec random_model() {
  ModelSpec model;
  model.input = coin() ? Shape{between(1, 4), between(1, 30), between(1, 30)} : Shape{between(1, 999)};
  for (std::int64_t tries = between(0, 8); tries > 0; --tries) {
    ModelSpec longer = model;
    longer.loss = LossKind::mse;
    longer.layers.push_back(random_layer(model.input));
    longer.layers.push_back({FlattenSpec{}, {}});  // so that the end fits whatever came before
    if (refusal([&] { infer_shapes(longer); }) != "accepted") continue;
    longer.layers.pop_back();
    model = longer;
  }
  model.layers.push_back({FlattenSpec{}, {}});
  model.layers.push_back({LinearSpec{between(1, 100)}, {}});
  if (coin()) random_blocks(model.layers);
  model.loss = coin() ? LossKind::mse : LossKind::cross_entropy;
  if (model.loss == LossKind::cross_entropy && coin()) model.label_smoothing = real(0, 1);
  return model;
}

OptimizerSpec random_optimizer() {
  const DecayOn decay_on = coin() ? DecayOn::all : DecayOn::weights;
  switch (between(0, 6)) {
    case 0: {
      SgdSpec sgd{real(0.001, 2), coin() ? real(0.01, 1) : 0, 0, false, real(0, 0.1), decay_on};
      if (sgd.momentum > 0 && coin()) sgd.nesterov = true;
      if (sgd.momentum > 0 && !sgd.nesterov) sgd.dampening = real(0, 1);
      return sgd;
    }
    case 1:
      return RmspropSpec{real(0.001, 2), real(0, 1), real(1e-12, 1e-6), real(0, 1), real(0, 1), decay_on};
    case 2:
      return AdagradSpec{real(0.001, 2), real(0, 1), real(1e-12, 1e-6), real(0, 1), decay_on};
    case 3:
      return LarsSpec{real(0.001, 2), real(0, 1), real(1e-4, 1), real(1e-12, 1e-6), real(0, 1), decay_on};
    case 4:
      return LambSpec{real(0.001, 2), real(0, 1), real(0, 1), real(1e-12, 1e-6), real(0, 1), decay_on};
    case 5:
      return MuonSpec{.lr = real(0.001, 2),
                      .momentum = real(0, 1),
                      .nesterov = coin(),
                      .iterations = between(1, 99),
                      .epsilon = real(1e-12, 1e-6),
                      .scale = coin() ? MuonScale::original : MuonScale::match_rms_adamw,
                      .adamw_lr = real(0, 2),
                      .adamw_beta1 = real(0, 1),
                      .adamw_beta2 = real(0, 1),
                      .adamw_epsilon = real(1e-12, 1e-6),
                      .weight_decay = real(0, 1),
                      .decay_on = decay_on};
    default:
      return AdamSpec{real(0.001, 2), real(0, 1), real(0, 1), real(1e-12, 1e-6), real(0, 1), coin(), decay_on};
  }
}

ScheduleSpec random_schedule(double lr) {
  ScheduleSpec schedule;
  const auto unit = coin() ? ScheduleUnit::step : ScheduleUnit::epoch;
  const std::int64_t kind = between(0, 5);
  switch (kind) {
    case 0:
      schedule.shape = ConstantSchedule{};
      break;
    case 1:
      schedule.shape = StepSchedule{between(1, 1000), real(0.01, 2)}, schedule.unit = unit;
      break;
    case 2: {
      MultiStepSchedule steps{{between(1, 9)}, real(0.01, 1)};
      for (std::int64_t more = between(0, 5); more > 0; --more)
        steps.milestones.push_back(steps.milestones.back() + between(1, 9));
      schedule.shape = steps;
      schedule.unit = unit;
      break;
    }
    case 3:
      schedule.shape = CosineSchedule{real(0, lr)};
      break;
    case 4:
      schedule.shape = LinearSchedule{real(0, 1)};
      break;
    default:
      schedule.shape = OneCycleSchedule{lr, real(0.01, 1), real(1, 50), real(1, 1e5)};
  }
  if (kind != 5 && coin()) {
    schedule.warmup_steps = between(1, 1000);
    schedule.warmup_start = real(0, 1);
  }
  return schedule;
}

std::optional<Interval> random_interval() {
  if (coin()) return std::nullopt;
  if (coin()) return Interval{static_cast<double>(between(1, 1000000)), Interval::Unit::steps};
  return Interval{real(0.001, 10), Interval::Unit::epochs};
}

AsyncSpec random_async() {
  AsyncSpec async;
  async.max_staleness = maybe(between(1, 1000));
  async.on_stale = static_cast<OnStale>(between(0, 2));
  async.updates = coin() ? StoreUpdates::locked : StoreUpdates::hogwild;
  const bool locked = async.updates == StoreUpdates::locked;
  async.updates_per_apply = maybe(between(1, locked ? 100 : 1));
  async.shards = maybe(between(1, 1000));
  async.record = locked && coin();
  async.fallback_loss_above = maybe(real(0, 10));
  return async;
}

AugmentSpec random_augmentation() {
  switch (between(0, 4)) {
    case 0:
      return coin() ? RandomCropSpec{between(1, 40), between(1, 40), between(0, 4)}
                    : RandomCropSpec{0, 0, between(0, 4)};
    case 1:
      return HorizontalFlipSpec{real(0, 1)};
    case 2:
      return CutoutSpec{between(1, 20)};
    case 3: {
      const std::int64_t size = coin() ? between(1, 40) : 0;
      return RandomResizedCropSpec{size, size, real(0.01, 0.5), real(0.5, 1), real(0.1, 1), real(1, 9)};
    }
    default:
      return ColourJitterSpec{real(0, 2), real(0, 2), real(0, 2), real(0, 0.5)};
  }
}

FaultsSpec random_faults() {
  FaultsSpec faults;
  faults.on_nan = *rc::gen::element(OnNan::stop, OnNan::skip, OnNan::rollback);
  faults.rollback_lr_factor = real(0.01, 1);
  faults.max_rollbacks = between(1, 100);
  faults.max_skips = between(1, 100);
  faults.on_replica_failure = coin() ? OnReplicaFailure::stop : OnReplicaFailure::continue_;
  faults.step_deadline = maybe(real(0.1, 1000));
  return faults;
}

DrillSpec random_drill() {
  DrillSpec drill{.at_step = between(0, 1000)};
  drill.kind = *rc::gen::element(DrillKind::throw_, DrillKind::stall, DrillKind::slow, DrillKind::nan);
  if (drill.kind == DrillKind::stall) drill.seconds = real(0.01, 100);
  if (drill.kind == DrillKind::slow) drill.factor = real(1, 10);
  return drill;
}

JobSpec random_job() {
  JobSpec job;
  job.file = "job.yaml";
  job.name = name();
  job.seed = *rc::gen::arbitrary<std::uint64_t>();
  if (coin()) {
    job.dataset.name = name();
    if (coin()) job.dataset.path = "a folder/\"ä\\" + name();
    job.dataset.generator_seed = *rc::gen::arbitrary<std::uint64_t>();
  } else if (coin()) {
    job.dataset.format = DatasetFormat::idx;
    job.dataset.path = name();
  } else if (coin()) {
    job.dataset.format = coin() ? DatasetFormat::image_folder : DatasetFormat::image_tar;
    job.dataset.path = name();
    if (coin()) job.dataset.resize = {between(1, 99), between(1, 99)};
    if (coin()) job.dataset.channels = coin() ? 1 : 3;
    job.dataset.on_bad_sample = coin() ? OnBadSample::stop : OnBadSample::skip;
  } else {
    job.dataset.format = DatasetFormat::generated;
    job.dataset.generator_seed = *rc::gen::arbitrary<std::uint64_t>();
  }
  job.dataset.train_samples = maybe(between(1, 100000));
  job.dataset.test_samples = maybe(between(1, 100000));
  for (std::int64_t more = between(0, 3); more > 0; --more) job.dataset.augment.push_back(random_augmentation());
  job.model = random_model();
  TrainSpec& train = job.train;
  if (coin())
    train.epochs = real(0.001, 100);
  else
    train.steps = between(1, 1000000000);
  train.global_batch_size = between(1, 4096);
  train.micro_batch_size = maybe(between(1, train.global_batch_size));
  train.optimizer = random_optimizer();
  train.schedule = random_schedule(std::visit([](const auto& optimizer) { return optimizer.lr; }, train.optimizer));
  train.clip_norm = maybe(real(0.001, 100));
  if (coin()) train.lr_scaling = LrScalingSpec{coin() ? LrScalingRule::linear : LrScalingRule::sqrt, between(1, 4096)};
  if (coin()) train.ema = EmaSpec{real(0, 1)};
  train.shuffle = coin();
  train.precision = *rc::gen::element(Precision::fp32, Precision::tf32, Precision::bf16, Precision::fp16);
  if (coin()) {
    const auto power = [](std::int64_t least, std::int64_t most) {
      return std::ldexp(1.0, static_cast<int>(between(least, most)));
    };
    train.loss_scale = {.init_scale = power(5, 20), .growth_interval = between(1, 10000), .min_scale = power(-5, 5)};
  }
  train.communication = coin() ? Communication::fp32 : Communication::bf16;
  if (coin()) job.devices.type = coin() ? DeviceType::cpu : DeviceType::cuda;
  job.devices.count = maybe<std::int64_t>(1);
  if (job.devices.type != DeviceType::cpu) job.devices.share = coin();
  if (job.devices.type != DeviceType::cuda) job.devices.threads_per_replica = between(1, 16);
  job.mode = static_cast<Mode>(between(0, 2));
  job.async = random_async();
  if (coin() || job.mode == Mode::local_sgd) job.local_sgd.workers = between(1, train.global_batch_size);
  job.local_sgd.sync_every = between(1, 100000);
  job.local_sgd.warmup_sync_steps = between(0, 1000000);
  job.local_sgd.worker_state = static_cast<WorkerState>(between(0, 2));
  if (coin()) job.local_sgd.outer_optimizer = random_optimizer();
  job.reproducible = coin();
  job.evaluate.every = random_interval();
  const Shape& input = job.model.input;
  if (input.rank() == 3 && input[1] > 1 && input[2] > 1) job.evaluate.views = *rc::gen::element<std::int64_t>(1, 2, 6);
  job.data = {between(1, 64), maybe<std::int64_t>(between(0, 64)), between(0, 1 << 30), between(1, 1 << 30)};
  job.log.every = random_interval();
  job.expect = {maybe(real(0, 1)), maybe(real(0, 10))};
  job.faults = random_faults();
  job.balance = coin() ? Balance::automatic : Balance::off;
  for (auto drills = between(0, 3); drills > 0; --drills) job.drills.push_back(random_drill());
  if (job.mode == Mode::local_sgd) {  // what is for mode sync
    job.faults.on_nan = OnNan::stop;
    job.faults.on_replica_failure = OnReplicaFailure::stop;
    job.balance = Balance::off;
  }
  if (job.mode == Mode::sync && job.faults.on_replica_failure == OnReplicaFailure::stop) random_sync(job.model.layers);
  return job;
}

}  // namespace

TEST_CASE("the resolved spec reads to an equal job") {
  CHECK(rc::check("read(to_yaml(job)) == job", [] {
    const JobSpec job = random_job();
    const std::string yaml = to_yaml(job);
    RC_LOG() << yaml;
    try {
      RC_ASSERT(read_job_text(yaml, job.file) == job);
    } catch (const Error& error) {
      RC_FAIL(error.what());
    }
  }));
}

TEST_CASE("jobs that differ are not equal") {
  const JobSpec job = read_job_text(kSmallSpec, "job.yaml");
  JobSpec other = job;
  other.train.optimizer = SgdSpec{0.2};
  CHECK(other != job);
  other = job;
  other.model.layers.pop_back();
  CHECK(other != job);
  other = job;
  other.model.layers.back().at.line = 99;  // where it stands is no part of what it says
  CHECK(other == job);
}

TEST_CASE("what decides the weights: the settings of local SGD where that is the mode") {
  JobSpec job = read_job_text(kSmallSpec, "job.yaml"), other = job;
  other.local_sgd.sync_every = 3;
  CHECK(weights_yaml(other) == weights_yaml(job));
  job.mode = other.mode = Mode::local_sgd;
  CHECK(weights_yaml(other) != weights_yaml(job));
}

}  // namespace dptrain::testing

#include <doctest/doctest.h>

#include "spec/descriptor.h"
#include "spec/shapes.h"
#include "spec_support.h"

namespace dptrain::testing {
namespace {

JobSpec job(const std::string& name) {
  return read_job(kTests / "jobs" / name);
}

}  // namespace

TEST_CASE("every spec of configs/ and tests/jobs/ reads, and its resolved form reads to the same") {
  for (const auto& folder : {kSource / "configs", kTests / "jobs"}) {
    const auto files = yaml_files(folder);
    CHECK(files.size() >= 4);
    for (const auto& file : files) {
      CAPTURE(file.string());
      const JobSpec first = read_job(file);
      const JobSpec second = read_job_text(to_yaml(first), file);
      CHECK(first == second);
      CHECK(to_yaml(first) == to_yaml(second));
      CHECK(infer_shapes(first.model).size() == first.model.layers.size() + 1);
    }
  }
}

TEST_CASE("what a minimal spec leaves out has its documented default") {
  const JobSpec spec = job("minimal.yaml");
  CHECK(spec.name == "minimal");
  CHECK(spec.seed == 1);
  CHECK(spec.reproducible);
  CHECK(spec.train.shuffle);
  CHECK_FALSE(spec.train.micro_batch_size);
  CHECK_FALSE(spec.train.clip_norm);
  CHECK(spec.train.loss_scale == LossScaleSpec{65536, 2000, 1});
  CHECK(spec.train.communication == Communication::fp32);
  CHECK(std::get<SgdSpec>(spec.train.optimizer) == SgdSpec{0.1, 0, 0, false, 0});
  CHECK(std::holds_alternative<ConstantSchedule>(spec.train.schedule.shape));
  CHECK_FALSE(spec.devices.type);
  CHECK_FALSE(spec.devices.count);
  CHECK_FALSE(spec.evaluate.every);
  CHECK(spec.model.layers[1].at.line == 5);
  CHECK(spec.model.layers[1].at.column == 21);
}

TEST_CASE("every key arrives where it belongs") {
  const JobSpec spec = job("every_key.yaml");
  CHECK(spec.name == "every-key_1.0");
  CHECK(spec.seed == 18446744073709551615u);
  CHECK(spec.dataset.name == "digits");
  CHECK(spec.dataset.path == "some where/with \"quotes\" \\ and ü");
  CHECK(spec.dataset.train_samples == 1000);
  CHECK(spec.dataset.test_samples == 100);
  CHECK(spec.dataset.generator_seed == 5);
  CHECK(spec.dataset.resize == std::pair<std::int64_t, std::int64_t>{30, 31});
  CHECK(spec.dataset.augment == std::vector<AugmentSpec>{RandomCropSpec{28, 29, 2}, HorizontalFlipSpec{0.25},
                                                         CutoutSpec{6},
                                                         RandomResizedCropSpec{20, 20, 0.5, 0.75, 0.5, 2},
                                                         ColourJitterSpec{0.1, 0.2, 0.3, 0.1}});
  CHECK(spec.dataset.on_bad_sample == OnBadSample::skip);
  CHECK(spec.model.input == Shape{2, 32, 30});
  const auto& layers = spec.model.layers;
  CHECK(std::get<Conv2dSpec>(layers[0].op) == Conv2dSpec{4, 5, 3, 2, 1, 2, 1, 2, false, Initialiser::kaiming_normal});
  CHECK(std::get<ActivationSpec>(layers[1].op) == ActivationSpec{ActivationKind::leaky_relu, 0.2});
  CHECK(std::get<Pool2dSpec>(layers[2].op) == Pool2dSpec{PoolKind::max, 2, 3, 1, 2, 1, 0});
  CHECK(std::get<Pool2dSpec>(layers[4].op) == Pool2dSpec{PoolKind::average, 2, 2, 1, 1, 1, 1});
  CHECK(std::get<LinearSpec>(layers[7].op) == LinearSpec{32, false, Initialiser::zeros});
  CHECK(std::get<DropoutSpec>(layers[9].op) == DropoutSpec{0.25});
  CHECK(layer_kind(layers[4]) == "avg_pool2d");
  CHECK(spec.model.loss == LossKind::mse);
  CHECK(spec.train.steps == 1000);
  CHECK(spec.train.micro_batch_size == 7);
  CHECK(std::get<AdamSpec>(spec.train.optimizer) == AdamSpec{0.002, 0.8, 0.95, 1e-7, 0.1, true, DecayOn::weights});
  const ScheduleSpec schedule{MultiStepSchedule{{100, 200}, 0.5}, ScheduleUnit::step, 10, 0.1};
  CHECK(spec.train.schedule == schedule);
  CHECK(spec.train.precision == Precision::fp16);
  CHECK(spec.train.loss_scale == LossScaleSpec{1024, 50, 0.5});
  CHECK(spec.train.communication == Communication::bf16);
  CHECK(spec.train.clip_norm == 1.5);
  CHECK(spec.train.lr_scaling == LrScalingSpec{LrScalingRule::sqrt, 25});
  CHECK(spec.train.ema == EmaSpec{0.9});
  CHECK_FALSE(spec.train.shuffle);
  CHECK(spec.devices == DevicesSpec{DeviceType::cpu, 3, 2, false, {}});
  CHECK(spec.mode == Mode::async);
  CHECK(spec.async == AsyncSpec{3, OnStale::scale, 2, StoreUpdates::locked, 5, true, 4.5, {}});
  CHECK(spec.local_sgd == LocalSgdSpec{5, 20, SgdSpec{0.7, 0.9, 0, true, 0}, WorkerState::keep, 30, {}});
  CHECK_FALSE(spec.reproducible);
  CHECK(spec.evaluate.every == Interval{0.5, Interval::Unit::epochs});
  CHECK(spec.data == DataSpec{8, 3, 512 << 20, 3'000'000'000});
  CHECK(spec.log.every == Interval{20, Interval::Unit::steps});
  CHECK(spec.expect == ExpectSpec{0.5, 2.0});
}

TEST_CASE("Keras' and Caffe's names say the same as PyTorch's") {
  const JobSpec pytorch = job("pytorch_names.yaml"), keras = job("keras_names.yaml"), caffe = job("caffe_names.yaml");
  CHECK(keras.model == pytorch.model);
  CHECK(caffe.model == pytorch.model);
  CHECK(keras.train == pytorch.train);
  CHECK(std::get<Conv2dSpec>(keras.model.layers[0].op).padding_height == 1);
}

TEST_CASE("keywords may stand in quotes, as libraries write them; numbers, true and false may not") {
  const auto with = [](const std::string& what) {
    return read_job_text(
        "dataset: {name: digits, train_samples: 'all'}\nmodel: {input: [1, 8, 8], layers: [{conv2d: "
        "{out_channels: 2, kernel_size: 3, padding: \"same\"}}, flatten, {linear: 2}]}\ntrain: {steps: 8, "
        "global_batch_size: 4, micro_batch_size: 'auto', optimizer: {name: sgd, lr: 0.1}, ema: 'none', "
        "clip_grad_norm: 'none'}\nevaluate: {every: 'end'}\nlog: {every: \"auto\"}\n"
        "devices: {count: 'auto'}\ndata: {workers: 'auto'}\nasync: {shards: 'auto', fallback: 'none'}\n" +
            what,
        "job.yaml");
  };
  CHECK_FALSE(with("").train.micro_batch_size);
  CHECK_FALSE(with("").devices.count);
  CHECK(to_yaml(with("")) == to_yaml(with("reproducible: true\n")));
  CHECK_THROWS_AS(with("reproducible: 'true'\n"), Error);
  CHECK_THROWS_AS(with("seed: '1'\n"), Error);
}

TEST_CASE("gpus is short for a block of devices") {
  const JobSpec spec = job("gpus.yaml");
  CHECK(spec.devices == DevicesSpec{DeviceType::cuda, 4, 1, false, {}});
}

TEST_CASE("optimizers with nothing but what they need") {
  const auto read = [](const char* optimizer) {
    return read_job_text(kSmallSpec, "job.yaml", {{"--set", "train.optimizer", optimizer}}).train.optimizer;
  };
  CHECK(std::get<RmspropSpec>(read("{name: rmsprop}")) == RmspropSpec{});
  CHECK(std::get<AdagradSpec>(read("{name: adagrad}")) == AdagradSpec{});
  CHECK(std::get<LarsSpec>(read("{name: lars, lr: 2}")) == LarsSpec{.lr = 2});
  CHECK(std::get<LambSpec>(read("{name: lamb}")) == LambSpec{});
  CHECK(std::get<MuonSpec>(read("{name: muon, lr: 0.02}")) == MuonSpec{.lr = 0.02, .adamw_lr = 0.02});
  CHECK(std::get<MuonSpec>(read("{name: muon, adjust_lr: match_rms_adamw, adamw_lr: 0.5}")) ==
        MuonSpec{.scale = MuonScale::match_rms_adamw, .adamw_lr = 0.5});
}

TEST_CASE("schedules and optimizers fill in what depends on each other") {
  const JobSpec cycle = read_job_text(kSmallSpec + "  lr_schedule: {name: one_cycle}\n", "job.yaml");
  CHECK(std::get<OneCycleSchedule>(cycle.train.schedule.shape).max_lr == 0.1);
  const JobSpec highest = read_job_text(kSmallSpec + "  lr_schedule: {name: one_cycle, max_lr: 0.4}\n", "job.yaml",
                                        {{"--set", "train.optimizer", "{name: adam}"}});
  CHECK(std::get<AdamSpec>(highest.train.optimizer).lr == 0.4);
  CHECK(read_job_text(to_yaml(highest), "job.yaml") == highest);
  const JobSpec none = read_job_text(kSmallSpec + "  lr_schedule: {name: one_cycle}\n", "job.yaml",
                                     {{"--set", "train.optimizer.lr", "0"}});
  CHECK(read_job_text(to_yaml(none), "job.yaml").train == none.train);
  const JobSpec adamw = read_job_text(kSmallSpec, "job.yaml", {{"--set", "train.optimizer", "{name: adamw}"}});
  CHECK(std::get<AdamSpec>(adamw.train.optimizer) == AdamSpec{1e-3, 0.9, 0.999, 1e-8, 0.01, true});
  const JobSpec adam = read_job_text(kSmallSpec, "job.yaml", {{"--set", "train.optimizer", "{name: adam}"}});
  CHECK(std::get<AdamSpec>(adam.train.optimizer) == AdamSpec{1e-3, 0.9, 0.999, 1e-8, 0, false});
}

TEST_CASE("muon's adamw_lr is its lr, where that is one_cycle's max_lr too") {
  const auto read = [](const char* optimizer, const std::string& max_lr) {
    return read_job_text(kSmallSpec + "  lr_schedule: {name: one_cycle, max_lr: " + max_lr + "}\n", "job.yaml",
                         {{"--set", "train.optimizer", optimizer}});
  };
  const auto muon = [](const JobSpec& job) { return std::get<MuonSpec>(job.train.optimizer); };
  CHECK(muon(read("{name: muon}", "0.02")) == MuonSpec{.lr = 0.02, .adamw_lr = 0.02});
  CHECK(muon(read("{name: muon, adamw_lr: 0.003}", "0.02")) == MuonSpec{.lr = 0.02, .adamw_lr = 0.003});
  CHECK(muon(read("{name: muon, lr: 0.02}", "0.02")) == MuonSpec{.lr = 0.02, .adamw_lr = 0.02});
  const JobSpec still = read("{name: muon}", "0");
  CHECK(muon(still) == MuonSpec{.lr = 0, .adamw_lr = 0});
  CHECK(read_job_text(to_yaml(still), "job.yaml") == still);
  CHECK(refusal([&] { read("{name: muon, adamw_lr: 0.003}", "0"); }).find("schedules multiply lr") !=
        std::string::npos);
}

TEST_CASE("the resolved spec writes one step and one epoch in the singular") {
  for (const char* every : {"1 step", "1 epoch", "2 steps", "0.5 epochs"}) {
    const std::string yaml = to_yaml(read_job_text(kSmallSpec, "job.yaml", {{"--set", "log.every", every}}));
    CHECK(yaml.find(std::string("log: {every: ") + every + "}\n") != std::string::npos);
  }
}

TEST_CASE("the default name is the file's stem, with '_' for what a name cannot hold") {
  CHECK(read_job_text(kSmallSpec, "a/My job+1.yaml").name == "My_job_1");
  CHECK(read_job_text(kSmallSpec, ".yaml").name == "_yaml");
}

TEST_CASE("the committed descriptors read") {
  const DatasetDescriptor mnist = read_descriptor(kSource / "datasets" / "mnist.yaml");
  CHECK(mnist.name == "mnist");
  CHECK(mnist.format == DatasetFormat::idx);
  CHECK(mnist.shape == Shape{1, 28, 28});
  CHECK(mnist.classes == 10);
  CHECK(mnist.train_samples == 60000);
  CHECK(mnist.test_samples == 10000);
  CHECK(mnist.mean == std::vector<float>{0.1307f});
  CHECK(mnist.std == std::vector<float>{0.3081f});
  CHECK(mnist.mirrors.size() == 1);
  REQUIRE(mnist.files.size() == 4);
  CHECK(mnist.files[3].role == "test_labels");
  CHECK(mnist.files[3].name == "t10k-labels-idx1-ubyte");
  CHECK(mnist.files[3].bytes == 10008);
  CHECK(mnist.files[3].sha256.starts_with("ff7bcfd4"));
  const DatasetDescriptor digits = read_descriptor(kSource / "datasets" / "digits.yaml");
  CHECK(digits.format == DatasetFormat::generated);
  CHECK(digits.files.empty());
}

}  // namespace dptrain::testing

// The promise of the project: weights and test loss have the same bits at any number of replicas, with and without
// loader threads. Over random specs whose sizes divide by nothing, and on real jobs.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>

#include <bit>
#include <cstdlib>

#include "data/open/open.h"
#include "kernels/kernels.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "support/memory_dataset.h"
#include "train/resumed_runs.h"
#include "train/trainer.h"

namespace dptrain {

namespace {

/// One of the values. Not an initializer_list: inside a conditional expression GCC 12 under AddressSanitizer lost its
/// array.
template <class T, class... More>
T pick(T first, More... more) {
  return *rc::gen::elementOf(std::vector<T>{first, static_cast<T>(more)...});
}
std::int64_t number(std::int64_t lowest, std::int64_t highest) {
  return *rc::gen::inRange<std::int64_t>(lowest, highest + 1);
}
bool coin() {
  return *rc::gen::arbitrary<bool>();
}

std::string activation() {
  return pick<std::string>("relu", "leaky_relu", "gelu", "sigmoid", "tanh", "softmax", "silu");
}

/// Layers for images; channels that are no multiple of a vector's width are padded in memory.
std::string image_layers(std::int64_t channels, std::int64_t side) {
  std::string layers;
  for (auto blocks = number(1, 2); blocks > 0; --blocks) {
    const bool grouped = channels % 2 == 0 && coin();
    const std::int64_t kernel = std::min<std::int64_t>(side, number(1, 3)), padding = number(0, kernel / 2);
    const std::int64_t stride = number(1, 2);
    channels = grouped ? 2 * number(1, 5) : pick<std::int64_t>(1, 3, 5, 8, 12, 16, 17, 20);
    layers += fmt::format(
        "    - conv2d: {{out_channels: {}, kernel_size: {}, stride: {}, padding: {}, groups: {}, bias: {}}}\n",
        channels, kernel, stride, padding, grouped ? 2 : 1, coin());
    side = (side + 2 * padding - kernel) / stride + 1;
    // One pixel of one sample has no variance.
    if (side >= 2 && coin())
      layers += pick<std::string>("    - batch_norm\n", "    - group_norm: 1\n", "    - layer_norm\n");
    if (coin()) layers += fmt::format("    - {}\n", activation());
    if (side >= 3 && coin()) {
      layers += fmt::format(
          "    - residual:\n        layers:\n"
          "          - conv2d: {{out_channels: {}, kernel_size: 3, padding: 1, stride: 2, bias: false}}\n"
          "          - batch_norm: {{momentum: {}, affine: {}}}\n          - {}\n        shortcut: {}\n",
          channels += number(0, 20), pick(0.1, 0.5), coin(), activation(), pick<std::string>("pad", "projection"));
      side = (side - 1) / 2 + 1;
      if (coin()) layers += "    - relu\n";
    }
    if (side >= 3 && coin()) {
      const std::int64_t window = number(2, 3), step = number(1, 2);
      layers += fmt::format("    - {}: {{kernel_size: {}, stride: {}}}\n",
                            pick<std::string>("max_pool2d", "avg_pool2d"), window, step);
      side = (side - window) / step + 1;
    }
    if (coin()) layers += fmt::format("    - dropout: {}\n", pick(0.1, 0.5));
  }
  return layers + "    - flatten\n";
}

std::string optimizer() {
  const std::string decay = coin() ? ", weight_decay: 0.01" : ", weight_decay: 0.01, weight_decay_on: weights";
  switch (number(0, 8)) {
    case 4:
      return fmt::format("{{name: rmsprop, lr: 0.003, momentum: {}{}}}", pick(0.0, 0.9), decay);
    case 5:
      return fmt::format("{{name: adagrad{}}}", decay);
    case 6:
      return fmt::format("{{name: lars, lr: 1{}}}", decay);
    case 7:
      return fmt::format("{{name: lamb{}}}", decay);
    case 8:
      return fmt::format("{{name: muon, lr: 0.02, nesterov: {}{}}}", coin(), decay);
    case 0:
      return fmt::format("{{name: sgd, lr: 0.05, weight_decay: {}}}", pick(0.0, 0.001));
    case 1:
      return fmt::format("{{name: sgd, lr: 0.05, momentum: 0.9, nesterov: {}}}", coin());
    case 2:
      return "{name: adam, lr: 0.003, weight_decay: 0.01}";
    default:
      return "{name: adamw, lr: 0.003}";
  }
}

std::string lr_schedule() {
  const std::int64_t warmup = number(0, 3);
  switch (number(0, 5)) {
    case 0:
      return fmt::format("{{name: constant, warmup_steps: {}}}", warmup);
    case 1:
      return fmt::format("{{name: cosine, warmup_steps: {}}}", warmup);
    case 2:
      return fmt::format("{{name: linear, end_factor: 0.1, warmup_steps: {}}}", warmup);
    case 3:
      return fmt::format("{{name: step, step_size: 2, gamma: 0.5, unit: step, warmup_steps: {}}}", warmup);
    case 4:
      return fmt::format("{{name: multi_step, milestones: [1, 3], unit: step, warmup_steps: {}}}", warmup);
    default:
      return "{name: one_cycle}";
  }
}

/// A random job, and the sizes of the dataset it is for.
struct Case {
  std::string yaml;
  Shape input;
  std::int64_t train = 0, test = 0;
};

Case random_case() {
  Case c;
  const bool image = number(0, 2) > 0;
  c.train = number(5, 90);
  c.test = number(1, 150);
  std::string layers;
  if (image) {
    const std::int64_t channels = number(1, 4), side = number(4, 9);
    c.input = Shape{channels, side, side};
    layers = image_layers(channels, side);
  } else {
    c.input = Shape{number(1, 40)};
  }
  for (auto hidden = number(image ? 0 : 1, 2); hidden > 0; --hidden) {
    layers += fmt::format("    - linear: {{out_features: {}, bias: {}}}\n", number(1, 40), coin());
    layers += fmt::format("    - {}\n", activation());
    if (coin()) layers += "    - dropout: 0.3\n";
  }
  layers += "    - linear: 3\n";
  const std::int64_t global = number(3, 60), parts = number(1, 10), micro = (global + parts - 1) / parts;
  c.yaml = fmt::format(
      "name: random\nseed: {}\ndataset: {{name: digits}}\nmodel:\n  input: [{}]\n  layers:\n{}  loss: {}\n"
      "train:\n  steps: {}\n  global_batch_size: {}\n  micro_batch_size: {}\n  optimizer: {}\n  lr_schedule: {}\n{}{}"
      "evaluate: {{every: {}}}\n",
      number(1, 1000000), fmt::join(c.input.extents(), ", "), layers, pick<std::string>("cross_entropy", "mse"),
      number(2, 7), global, micro, optimizer(), lr_schedule(),
      (number(0, 2) == 0 && cpu_lacks(ElementType::bfloat16).empty() ? "  precision: bf16\n" : "") +
          (coin() ? fmt::format("  clip_grad_norm: {}\n", pick(0.05, 5.0)) : std::string()),
      (number(0, 3) == 0 ? "  ema: {decay: 0.8}\n" : std::string()) + (coin() ? "  shuffle: false\n" : ""),
      pick<std::string>("2 steps", "1 epochs"));
  return c;
}

Summary run(const JobSpec& base, const DatasetPair& data, int replicas, std::int64_t workers) {
  JobSpec job = base;
  job.devices.count = replicas;
  job.data.workers = workers;
  Reporter silent;
  return train(job, data, silent);
}

bool same(const Summary& a, const Summary& b) {
  return a.weights_hash == b.weights_hash &&
         std::bit_cast<std::uint64_t>(a.test_loss) == std::bit_cast<std::uint64_t>(b.test_loss) &&
         std::bit_cast<std::uint64_t>(a.final_loss) == std::bit_cast<std::uint64_t>(b.final_loss) &&
         a.test_accuracy == b.test_accuracy;
}

std::string text(const Summary& s) {
  return fmt::format("{} test_loss {} final_loss {}", s.weights_hash, s.test_loss, s.final_loss);
}

}  // namespace

TEST_CASE("random small jobs: the same bits at any number of replicas; another seed, other bits") {
  CHECK(rc::check("same bits", [] {
    const Case c = random_case();
    RC_LOG() << c.yaml << "train " << c.train << ", test " << c.test << '\n';
    const JobSpec job = read_job_text(c.yaml, "random.yaml");
    const DatasetPair data = test::memory_pair(c.train, c.test, c.input, 3, job.seed);
    const std::int64_t samples = std::min(c.train, job.train.global_batch_size);
    const auto most = static_cast<int>(
        std::min<std::int64_t>(8, (samples + *job.train.micro_batch_size - 1) / *job.train.micro_batch_size));
    const Summary one = run(job, data, 1, 1);
    RC_LOG() << "1 replica: " << text(one) << '\n';
    for (const int replicas : {1, 2, 3, 4, most}) {
      if (replicas > most) continue;
      const Summary other = run(job, data, replicas, replicas % 2 == 0 ? 1 : 0);
      RC_LOG() << replicas << " replicas: " << text(other) << '\n';
      RC_ASSERT(same(one, other));
    }
    JobSpec reseeded = job;
    reseeded.seed += 1;
    RC_ASSERT(run(reseeded, data, 1, 1).weights_hash != one.weights_hash);
  }));
}

TEST_CASE("random small jobs, stopped at random moments and gone on with at other numbers of replicas: the same bits") {
  CHECK(rc::check("resumed", [] {
    const Case c = random_case();
    RC_LOG() << c.yaml << "train " << c.train << ", test " << c.test << '\n';
    JobSpec job = read_job_text(c.yaml, "random.yaml");
    job.data.workers = number(0, 1);
    const test::PartsOfRun parts{job, c.input, c.train, c.test, 3, job.seed};
    const std::int64_t samples = std::min(c.train, job.train.global_batch_size);
    const std::int64_t most =
        std::min<std::int64_t>(4, (samples + *job.train.micro_batch_size - 1) / *job.train.micro_batch_size);
    DevicesSpec devices = job.devices;
    devices.count = 1;
    job.devices = devices;
    const Summary whole = parts.whole();
    RC_LOG() << "whole: " << text(whole) << '\n';
    const test::TemporaryFolder folder;
    std::int64_t stops = number(1, 3);
    for (Summary part; part.weights_hash.empty() || part.status == RunStatus::stopped; --stops) {
      devices.count = number(1, most);
      const auto until = stops > 0 ? number(1, 2 * c.train) : test::to_the_end;
      part = parts.part(folder.path(), until, devices);
      RC_LOG() << *devices.count << " replicas to step " << part.steps << ": " << text(part) << '\n';
      if (part.status == RunStatus::stopped) continue;
      RC_ASSERT(part.weights_hash == whole.weights_hash);
      RC_ASSERT(std::bit_cast<std::uint64_t>(part.test_loss) == std::bit_cast<std::uint64_t>(whole.test_loss));
      RC_ASSERT(part.steps == whole.steps);
      RC_ASSERT(part.samples == whole.samples);
    }
  }));
}

TEST_CASE("generated digits: the same bits at 1 to 5 replicas, last batch short, dropout, clipping") {
  const JobSpec job = read_job(DPTRAIN_SOURCE_DIR "/configs/digits.yaml", {{"--set", "dataset.train_samples", "333"},
                                                                           {"--set", "dataset.test_samples", "101"},
                                                                           {"--set", "train.global_batch_size", "100"},
                                                                           {"--set", "train.micro_batch_size", "21"},
                                                                           {"--set", "train.epochs", "1"},
                                                                           {"--set", "train.clip_grad_norm", "1"}});
  const DatasetPair data = open_dataset(job.dataset, {.offline = true, .progress = {}});
  const Summary one = run(job, data, 1, 1);
  CHECK(one.steps == 4);
  CHECK(one.samples == 333);
  for (const int replicas : {2, 3, 4, 5}) CHECK_MESSAGE(same(one, run(job, data, replicas, 1)), replicas, " replicas");
}

TEST_CASE("ResNet-20: the same bits at 1, 2 and 4 replicas, and evaluations move nothing") {
  JobSpec job =
      read_job(DPTRAIN_SOURCE_DIR "/configs/cifar10_resnet20.yaml", {{"--set", "dataset", "{name: digits}"},
                                                                     {"--set", "model.input", "[1, 28, 28]"},
                                                                     {"--set", "dataset.train_samples", "70"},
                                                                     {"--set", "dataset.test_samples", "20"},
                                                                     {"--set", "train.global_batch_size", "30"},
                                                                     {"--set", "train.micro_batch_size", "7"},
                                                                     {"--set", "train.steps", "4"},
                                                                     {"--set", "expect", "{}"}});
  const DatasetPair data = open_dataset(job.dataset, {.offline = true, .progress = {}});
  const Summary one = run(job, data, 1, 1);
  for (const int replicas : {2, 4}) CHECK_MESSAGE(same(one, run(job, data, replicas, 1)), replicas, " replicas");
  job.evaluate.every = Interval{1, Interval::Unit::steps};
  CHECK(same(one, run(job, data, 2, 0)));
}

TEST_CASE("MNIST: the same bits at 1 to 4 replicas") {
  if (std::getenv("DPTRAIN_DATA") == nullptr) {
    MESSAGE("skipped: DPTRAIN_DATA is not set");
    return;
  }
  const JobSpec job =
      read_job(DPTRAIN_SOURCE_DIR "/configs/mnist_mlp.yaml", {{"--set", "dataset.train_samples", "1500"},
                                                              {"--set", "dataset.test_samples", "500"},
                                                              {"--set", "train.epochs", "1"}});
  const DatasetPair data = open_dataset(job.dataset, {.offline = true, .progress = {}});
  const Summary one = run(job, data, 1, 1);
  for (const int replicas : {2, 3, 4}) CHECK_MESSAGE(same(one, run(job, data, replicas, 1)), replicas, " replicas");
}

}  // namespace dptrain

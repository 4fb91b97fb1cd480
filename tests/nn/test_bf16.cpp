// Whole networks in bfloat16: what is stored as what, and that loss and gradients are those of fp32, but for rounding.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/one_thread.h"

using namespace dptrain;

namespace {

constexpr std::int64_t kBatch = 12;

bool has_bf16() {
  const std::string missing = cpu_lacks(ElementType::bfloat16);
  if (!missing.empty()) MESSAGE("skipped: " << missing);
  return missing.empty();
}

ModelSpec spec_of(const std::string& layers) {
  return read_job_text("dataset: {name: none}\nmodel: {input: [3, 10, 10], layers: [" + layers +
                           "]}\ntrain: {steps: 1, global_batch_size: 8, optimizer: {name: sgd, lr: 0.1}}\n",
                       "network.yaml")
      .model;
}

struct Computed {
  double loss = 0, evaluated = 0;
  std::vector<std::vector<float>> gradients;  // canonical, in flat order
};

Computed pass_through(const std::string& layers, ElementType type) {
  const auto kernels = make_cpu_kernels();
  Model model(spec_of(layers), *kernels, kBatch, type);
  model.prepare(std::vector{kBatch});
  const std::int64_t floats = model.parameters().floats();
  const Buffer weights = Buffer::host_floats(floats), gradients = Buffer::host_floats(floats);
  model.parameters().initialise(5, weights.floats());
  model.bind(weights.floats());
  std::vector<float> x(static_cast<std::size_t>(kBatch * 300));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i * i % 1009));
  std::vector<std::int64_t> ids(kBatch);
  std::vector<std::int32_t> labels(kBatch);
  std::iota(ids.begin(), ids.end(), 0);
  for (std::size_t s = 0; s < labels.size(); ++s) labels[s] = static_cast<std::int32_t>(s % 4);
  Computed pass;
  pass.loss = model.train(1, 0, ids, x.data(), labels.data(), gradients.floats()).loss;
  for (const Parameter& parameter : model.parameters().all())
    pass.gradients.push_back(model.parameters().canonical(parameter, gradients.floats()));
  // Other weights at the same address: with another version they are read anew.
  for (std::int64_t i = 0; i < floats; ++i) weights.floats()[i] *= 0.5f;
  pass.evaluated = model.evaluate(0, ids, x.data(), labels.data(), -1).loss;
  return pass;
}

}  // namespace

TEST_CASE("between a network's ends tensors have 16 bits, and everything that is given to it or taken has 32") {
  if (!has_bf16()) return;
  const auto kernels = make_cpu_kernels();
  const Model model(
      spec_of("conv2d: {out_channels: 8, kernel_size: 3}, batch_norm, relu, max_pool2d: 2, flatten, linear: 6, "
              "tanh, linear: 5"),
      *kernels, kBatch, ElementType::bfloat16);
  std::vector<std::string> types;
  for (const Model::StageInfo& stage : model.stages())
    types.push_back(fmt::format("{} {}", stage.kind, bytes_of(stage.output.type)));
  CHECK(types == std::vector<std::string>{"conv2d 2", "batch_norm 2", "max_pool2d 2", "flatten 2", "linear 2", "tanh 2",
                                          "linear 4"});
}

TEST_CASE("loss and gradients are those of fp32, but for rounding") {
  if (!has_bf16()) return;
  const std::string conv = "conv2d: {out_channels: 8, kernel_size: 3, padding: 1}";
  for (const std::string& layers : std::vector<std::string>{
           conv + ", relu, max_pool2d: 2, flatten, linear: 20, tanh, linear: 4",
           conv + ", batch_norm, relu, residual: [" + conv + ", batch_norm], relu, global_avg_pool, linear: 4",
           // Blocks that begin at the model's input, and paths that end in fp32.
           "residual: {layers: [" + conv + ", group_norm: 2], shortcut: pad}, relu, flatten, linear: 4",
           "residual: [conv2d: {out_channels: 3, kernel_size: 1}], flatten, linear: 4",
           "batch_norm, residual: [conv2d: {out_channels: 3, kernel_size: 1}, softmax], flatten, linear: 4",
           conv + ", softmax, residual: {layers: [" + conv + "], shortcut: projection}, flatten, layer_norm, linear: 4",
           "avg_pool2d: 2, " + conv + ", gelu, avg_pool2d: {kernel_size: 3, stride: 1}, flatten, linear: 4, sigmoid",
           "flatten, linear: 4", conv + ", conv2d: {out_channels: 4, kernel_size: 10}, flatten",
           "flatten, linear: 9, softmax, linear: 4"}) {
    CAPTURE(layers);
    const Computed floats = pass_through(layers, ElementType::float32),
                   halves = pass_through(layers, ElementType::bfloat16);
    CHECK(halves.loss == doctest::Approx(floats.loss).epsilon(0.02));
    CHECK(halves.evaluated == doctest::Approx(floats.evaluated).epsilon(0.02));
    CHECK(floats.loss != floats.evaluated);
    REQUIRE(halves.gradients.size() == floats.gradients.size());
    for (std::size_t p = 0; p < floats.gradients.size(); ++p) {
      // By length: where two maxima or a ReLU's two sides are a rounding apart, single elements differ by all they are.
      double apart = 0, length = 0;
      for (std::size_t i = 0; i < floats.gradients[p].size(); ++i) {
        const double value = floats.gradients[p][i];
        apart += (halves.gradients[p][i] - value) * (halves.gradients[p][i] - value);
        length += value * value;
      }
      if (length < 1e-4) continue;  // zero but for rounding: a bias in front of a batch norm
      CAPTURE(p);
      CHECK(std::sqrt(apart / length) < 0.15);
    }
  }
}

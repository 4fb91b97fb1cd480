// A model as a whole: gradients of its loss through blocked and padded layouts, padding that stays zero while it
// trains, a batch's independence of the batches before it, and evaluation without a trace.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <span>

#include "kernels/cpu/apply_update.h"
#include "nn/model.h"
#include "spec/reader.h"
#include "support/compare.h"
#include "support/gradient_check.h"
#include "support/one_thread.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

ModelSpec spec_of(const std::string& input, const std::string& layers, const std::string& loss = "cross_entropy") {
  return read_job_text(
             fmt::format(
                 "dataset: {{name: none}}\nmodel: {{input: {}, layers: [{}], loss: {}}}\n"
                 "train: {{steps: 1, global_batch_size: 8, micro_batch_size: 8, optimizer: {{name: sgd, lr: 0.1}}}}\n",
                 input, layers, loss),
             "model.yaml")
      .model;
}

/// A model with parameters, and a batch for it.
struct Trained {
  Trained(const ModelSpec& spec, std::vector<std::int64_t> batches, std::uint64_t seed = 1)
      : kernels(make_cpu_kernels()),
        model(spec, *kernels, batches.front()),
        features(spec.input.elements()),
        draws(seed) {
    model.prepare(batches);
    parameters = Buffer::host_floats(model.parameters().floats());
    gradients = Buffer::host_floats(model.parameters().floats());
    model.parameters().initialise(seed, parameters.floats());
    model.bind(parameters.floats());
    set_batch(batches.front());
  }
  void set_batch(std::int64_t samples) {
    x = draws.vector(samples * features);
    labels.clear();
    ids.clear();
    for (std::int64_t s = 0; s < samples; ++s) {
      labels.push_back(static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(model.outputs_per_sample()))));
      ids.push_back(100 + s);
    }
  }
  LossSum train(std::int64_t step) { return model.train(5, step, ids, x.data(), labels.data(), gradients.floats()); }

  std::unique_ptr<Kernels> kernels;
  Model model;
  std::int64_t features;
  Draws draws;
  Buffer parameters, gradients;
  std::vector<float> x;
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> ids;
};

std::vector<float> copy(const Buffer& buffer) {
  return {buffer.floats(), buffer.floats() + buffer.size() / sizeof(float)};
}

/// Every layer behind a convolution of 5, 20 or 50 channels, and behind flatten. Those with a kink are no matter for
/// finite differences of a whole network, whose weights move every input of theirs.
std::vector<std::string> networks(bool with_kinks = true) {
  std::vector<std::string> all;
  for (const int channels : {5, 20, 50}) {
    for (const char* layer :
         {"tanh", "gelu", "sigmoid", "softmax", "avg_pool2d: 2", "avg_pool2d: {kernel_size: 3, stride: 1, padding: 1}",
          "dropout: 0.5", "leaky_relu: 1", "conv2d: {out_channels: 7, kernel_size: 2}, tanh",
          "tanh, conv2d: {out_channels: 20, kernel_size: 3}, sigmoid, avg_pool2d: 2, dropout: 0.2"}) {
      all.push_back(
          fmt::format("conv2d: {{out_channels: {}, kernel_size: 3}}, {}, flatten, linear: 4", channels, layer));
    }
    for (const char* layer :
         {"silu, batch_norm: {eps: 0.1}", "batch_norm: {eps: 0.1}, silu, batch_norm: {affine: false, eps: 1}",
          "group_norm: 1, gelu", "layer_norm, tanh", "global_avg_pool, linear: 5, batch_norm: {eps: 0.1}",
          "residual: [conv2d: {out_channels: 99, kernel_size: 3, padding: 1}]",
          "residual: [silu, residual: [sigmoid], tanh]",
          "residual: {layers: [conv2d: {out_channels: 100, kernel_size: 3, padding: 1, stride: 2}, tanh], shortcut: "
          "pad}",
          "residual: {layers: [conv2d: {out_channels: 10, kernel_size: 3, padding: 1, stride: 3}, batch_norm: {eps: "
          "0.1}], "
          "shortcut: [conv2d: {out_channels: 10, kernel_size: 1, stride: 3}, batch_norm: {eps: 0.1}]}",
          "residual: {layers: [dropout: 0.3], shortcut: [conv2d: {out_channels: 99, kernel_size: 1}]}",
          "residual: [dropout: 0.3]", "residual: {layers: [dropout: 0.3], shortcut: [dropout: 0.4]}"}) {
      std::string text = layer;
      if (const auto at = text.find("99"); at != std::string::npos) text.replace(at, 2, std::to_string(channels));
      all.push_back(
          fmt::format("conv2d: {{out_channels: {}, kernel_size: 3}}, {}, flatten, linear: 4", channels, text));
    }
    for (const char* layer :
         {"relu", "leaky_relu: 0.1", "leaky_relu: -0.5", "max_pool2d: 2",
          "relu, max_pool2d: {kernel_size: 3, stride: 1}", "batch_norm, relu", "group_norm: 1, relu",
          "layer_norm, relu", "residual: [batch_norm, relu, dropout: 0.1], relu",
          "residual: [relu], relu, max_pool2d: 2",
          "residual: {layers: [conv2d: {out_channels: 10, kernel_size: 3, stride: 2}, batch_norm], shortcut: "
          "[avg_pool2d: {kernel_size: 3, stride: 2}, conv2d: {out_channels: 10, kernel_size: 1}]}",
          "residual: {layers: [conv2d: {out_channels: 9, kernel_size: 3, padding: 1, stride: 2}], shortcut: "
          "projection}"}) {
      if (!with_kinks) break;
      all.push_back(
          fmt::format("conv2d: {{out_channels: {}, kernel_size: 3}}, {}, flatten, linear: 4", channels, layer));
    }
    for (const char* layer :
         {"tanh", "gelu", "sigmoid", "softmax", "dropout: 0.5", "linear: 9, tanh", "layer_norm",
          "batch_norm: {eps: 0.1}", "linear: 9, residual: [linear: 20, silu, residual: [layer_norm], linear: 9]"}) {
      all.push_back(
          fmt::format("conv2d: {{out_channels: {}, kernel_size: 3}}, flatten, {}, linear: 4", channels, layer));
    }
  }
  return all;
}

}  // namespace

TEST_CASE("gradients of filters that are fixed are zero, and finished, though nobody computes them") {
  const ModelSpec spec =
      spec_of("[3, 8, 8]",
              "conv2d: {out_channels: 24, kernel_size: 2, bias: false, init: whiten}, batch_norm, relu, flatten, "
              "linear: 4");
  Trained one(spec, {8});
  const std::int64_t floats = one.model.parameters().floats();
  std::fill_n(one.gradients.floats(), floats, std::numeric_limits<float>::quiet_NaN());
  LossSum loss;
  std::int64_t finished = 0;
  const std::int64_t step = 0;
  one.model.train(5, {step, &step}, {8, one.ids.data(), one.x.data(), one.labels.data()},
                  {.gradients = one.gradients.floats(), .loss = &loss, .finished = [&](std::int64_t first) {
                     CHECK(first > finished);
                     finished = first;
                   }});
  const Parameter& filters = one.model.parameters().all().back();
  CHECK(filters.name == "0.weight");
  CHECK(finished == filters.offset + filters.desc.stored_floats);
  for (const Parameter& parameter : one.model.parameters().all()) {
    CAPTURE(parameter.name);
    const std::span<const float> gradient(one.gradients.floats() + parameter.offset,
                                          static_cast<std::size_t>(parameter.desc.stored_floats));
    CHECK(std::all_of(gradient.begin(), gradient.end(), [](float value) { return std::isfinite(value); }));
    if (&parameter == &filters)
      CHECK(std::all_of(gradient.begin(), gradient.end(), [](float value) { return value == 0; }));
  }
}

TEST_CASE("the gradient of the loss, through every layer in the layouts that a model gives it") {
  std::set<std::string> kinds;
  bool padded = false;
  for (const std::string& layers : networks(/*with_kinks=*/false)) {
    CAPTURE(layers);
    for (const char* loss : {"cross_entropy", "mse"}) {
      Trained t(spec_of("[1, 8, 7]", layers, loss), {3});
      std::int64_t step = 0;  // it names the version of the weights, and of dropout's draws
      for (const Model::StageInfo& stage : t.model.stages()) {
        kinds.insert(stage.kind);
        padded = padded || stage.output.padded();
      }
      const bool random = layers.find("dropout") != std::string::npos;
      for (const Parameter& p : t.model.parameters().all()) {
        CAPTURE(p.name);
        // Biases start within small bounds; all values move onto a coarse grid so that steps are exact.
        std::vector<float> values = t.draws.vector(p.desc.shape.elements());
        for (float& v : values) v /= p.name == "0.weight" ? 4 : 8;
        t.model.parameters().set_canonical(p, values.data(), t.parameters.floats());
      }
      t.train(step);
      for (const Parameter& p : t.model.parameters().all()) {
        if (p.desc.role == ParameterRole::statistic) continue;  // what is written for it is no gradient
        CAPTURE(p.name);
        const std::vector<float> gradient = t.model.parameters().canonical(p, t.gradients.floats());
        std::vector<float> values = t.model.parameters().canonical(p, t.parameters.floats());
        Buffer scratch = Buffer::host_floats(t.model.parameters().floats());
        const auto objective = [&] {
          t.model.parameters().set_canonical(p, values.data(), t.parameters.floats());
          // Another step would draw other masks; the loss does not read the copies that a step's version refreshes.
          return t.model.train(5, step, t.ids, t.x.data(), t.labels.data(), scratch.floats()).loss;
        };
        CHECK(gradient_error(values, gradient, 0x1p-5f, 0.02, objective, t.draws, random ? 6 : 10) < 5e-3);
        t.model.parameters().set_canonical(p, values.data(), t.parameters.floats());
      }
    }
  }
  // With AVX-512 layouts are padded here; where they are not, test_gradients.cpp and test_golden_layers.cpp force them
  // to be.
  WARN(padded);
  WARN(kinds.contains("reorder"));
}

TEST_CASE("padding stays zero while a model trains") {
  for (const std::string& layers : networks()) {
    CAPTURE(layers);
    Trained t(spec_of("[1, 8, 7]", layers), {6, 5});
    const std::size_t floats = static_cast<std::size_t>(t.model.parameters().floats());
    std::vector<float> state0(floats), state1(floats);
    for (std::int64_t step = 0; step < 4; ++step) {
      t.set_batch(step % 2 == 0 ? 6 : 5);
      t.train(step);
      const AdamRule rule{.step_size = 0.01f,
                          .coupled_decay = 0.1f,
                          .average_weight = 0.1f,
                          .square_decay = 0.9f,
                          .square_share = 0.1f,
                          .epsilon = 1e-8f};
      apply_update(rule, {t.parameters.floats(), floats}, {t.gradients.floats(), floats}, state0, state1);
    }
    // What the canonical tensors pack to is all there is, in weights, gradients and state.
    Buffer packed = Buffer::host_floats(t.model.parameters().floats());
    for (const float* flat :
         {const_cast<const float*>(t.parameters.floats()), const_cast<const float*>(t.gradients.floats()),
          const_cast<const float*>(state0.data()), const_cast<const float*>(state1.data())}) {
      for (const Parameter& p : t.model.parameters().all()) {
        t.model.parameters().set_canonical(p, t.model.parameters().canonical(p, flat).data(), packed.floats());
      }
      CHECK(std::memcmp(packed.floats(), flat, floats * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("a batch's result does not depend on what ran before it") {
  for (const std::string& layers : networks()) {
    CAPTURE(layers);
    const ModelSpec spec = spec_of("[1, 8, 7]", layers);
    Trained fresh(spec, {6, 5}), used(spec, {6, 5});
    used.set_batch(5);
    used.train(3);
    used.model.evaluate(3, used.ids, used.x.data(), used.labels.data());
    used.x = fresh.x;
    used.labels = fresh.labels;
    used.ids = fresh.ids;
    std::fill_n(used.gradients.floats(), used.model.parameters().floats(), 0.0f);
    const LossSum a = fresh.train(9), b = used.train(9);
    CHECK(a.loss == b.loss);
    CHECK(a.correct == b.correct);
    CHECK(copy(fresh.gradients) == copy(used.gradients));
  }
}

TEST_CASE("gradients follow the weights from step to step") {
  // A copy of weights in another layout must not outlive its step.
  for (const std::string& layers : networks()) {
    CAPTURE(layers);
    const ModelSpec spec = spec_of("[1, 8, 7]", layers);
    Trained stepping(spec, {6}), fresh(spec, {6});
    stepping.train(0);
    for (Trained* t : {&stepping, &fresh}) {
      for (const Parameter& p : t->model.parameters().all()) {
        std::vector<float> values = t->model.parameters().canonical(p, t->parameters.floats());
        for (float& v : values) v *= -1.5f;
        t->model.parameters().set_canonical(p, values.data(), t->parameters.floats());
      }
    }
    stepping.train(1);
    fresh.train(1);
    CHECK(copy(stepping.gradients) == copy(fresh.gradients));
  }
}

TEST_CASE("evaluation gives the loss of training where nothing is random") {
  Trained t(spec_of("[1, 8, 7]", "conv2d: {out_channels: 20, kernel_size: 3}, relu, max_pool2d: 2, flatten, linear: 4"),
            {6});
  const LossSum trained = t.train(0);
  const std::vector<float> outputs(t.model.outputs(), t.model.outputs() + 24), gradients = copy(t.gradients);
  const LossSum evaluated = t.model.evaluate(0, t.ids, t.x.data(), t.labels.data());
  CHECK(evaluated.loss == doctest::Approx(trained.loss).epsilon(1e-6));
  CHECK(evaluated.correct == trained.correct);
  CHECK(std::equal(outputs.begin(), outputs.end(), t.model.outputs()));
  CHECK(copy(t.gradients) == gradients);
}

TEST_CASE("a batch size that was not prepared is refused") {
  Trained t(spec_of("[4]", "linear: 3"), {2});
  t.set_batch(3);
  CHECK_THROWS(t.train(0));
}

TEST_CASE("a ReLU that moves behind a max pool changes no bit") {
  // A leaky ReLU of slope 0 is a ReLU that stays where it is.
  for (const char* pool : {"2", "{kernel_size: 3, stride: 2}", "{kernel_size: 3, stride: 1, padding: 1}"}) {
    const ModelSpec moves = spec_of("[2, 9, 11]", fmt::format("conv2d: {{out_channels: 5, kernel_size: 3}}, relu, "
                                                              "max_pool2d: {}, flatten, linear: 4",
                                                              pool));
    ModelSpec stays = moves;
    stays.layers[1].op = ActivationSpec{.kind = ActivationKind::leaky_relu, .negative_slope = 0};
    Trained a(moves, {7}), b(stays, {7});
    REQUIRE(a.model.stages()[1].kind == "max_pool2d");
    REQUIRE(b.model.stages()[1].kind == "leaky_relu");
    const LossSum loss_a = a.train(0), loss_b = b.train(0);
    CHECK(loss_a.loss == loss_b.loss);
    CHECK(std::memcmp(a.gradients.data(), b.gradients.data(), a.gradients.size()) == 0);
  }
}

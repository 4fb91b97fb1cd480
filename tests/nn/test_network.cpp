// Containers taken apart: names, the order of parameters, places and slots that are shared and those that must not be.
#include <doctest/doctest.h>

#include "nn/model.h"
#include "nn/network.h"
#include "spec/reader.h"
#include "spec/shapes.h"
#include "support/one_thread.h"

using namespace dptrain;

namespace {

ModelSpec spec_of(const std::string& layers) {
  return read_job_text("dataset: {name: none}\nmodel: {input: [3, 8, 8], layers: [" + layers +
                           "]}\ntrain: {steps: 1, global_batch_size: 8, micro_batch_size: 8, "
                           "optimizer: {name: sgd, lr: 0.1}}\n",
                       "network.yaml")
      .model;
}

const std::string kConv = "conv2d: {out_channels: 8, kernel_size: 3, padding: 1, bias: false}";
const std::string kBlock = "residual: [" + kConv + ", batch_norm, relu, " + kConv + ", batch_norm], relu";

Network network_of(const std::string& layers) {
  const auto kernels = make_cpu_kernels();
  return build_network(spec_of(layers), *kernels, 8);  // what is left of it is not run
}

std::vector<std::string> names(const Network& network) {
  std::vector<std::string> all;
  for (const Parameter* p : network.table.by_name()) all.push_back(p->name);
  return all;
}

}  // namespace

TEST_CASE("parameters have the names of PyTorch's modules, and the numbers of layer_shapes") {
  const std::string layers =
      kConv +
      ", residual: {layers: [relu, residual: [batch_norm]], shortcut: projection}, residual: {layers: "
      "[silu], shortcut: [relu, " +
      kConv + "]}, global_avg_pool, linear: 4";
  const Network network = network_of(layers);
  CHECK(names(network) ==
        std::vector<std::string>{"0.weight", "1.layers.1.layers.0.bias", "1.layers.1.layers.0.running_mean",
                                 "1.layers.1.layers.0.running_var", "1.layers.1.layers.0.weight", "1.shortcut.0.weight",
                                 "1.shortcut.1.bias", "1.shortcut.1.running_mean", "1.shortcut.1.running_var",
                                 "1.shortcut.1.weight", "2.shortcut.1.weight", "4.bias", "4.weight"});
  const std::vector<LayerShape> shapes = layer_shapes(spec_of(layers));
  for (const Parameter& p : network.table.all()) {
    CAPTURE(p.name);
    REQUIRE(p.layer < shapes.size());
    CHECK(p.name.substr(0, p.name.rfind('.')) == shapes[p.layer].name);
  }
  CHECK(network.table.elements() == 3 * 8 * 9 + 2 * 8 + 8 * 8 + 2 * 8 + 8 * 8 * 9 + 4 * 9);  // without statistics
}

TEST_CASE("gradients of layers one after another share two slots; a block that waits for its branch has a third") {
  CHECK(network_of(kConv + ", relu, " + kConv + ", batch_norm, relu, flatten, linear: 4").slots.size() == 2);
  CHECK(network_of(kConv + ", " + kBlock + ", " + kBlock + ", flatten, linear: 4").slots.size() == 3);
  CHECK(network_of(kConv + ", residual: [" + kConv + ", " + kBlock + "], flatten, linear: 4").slots.size() == 4);
  // Nothing before the first parameters has a gradient.
  const Network first = network_of("residual: [relu, batch_norm, relu], flatten, linear: 4");
  for (const Stage& stage : first.stages) {
    CAPTURE(stage.kind);
    CHECK(stage.has_backward == (stage.kind != "fork" && stage.kind != "relu" && stage.kind != "add"));
    CHECK((stage.dx == kNone) == (stage.kind != "flatten" && stage.kind != "linear"));
  }
}

TEST_CASE("filters that are fixed have no gradient, nor has anything before what is trained behind them") {
  const std::string fixed = "conv2d: {out_channels: 24, kernel_size: 2, bias: false, init: whiten}";
  const Network network = network_of(fixed + ", batch_norm, relu, " + kConv + ", flatten, linear: 4");
  for (std::size_t s = 0; s < network.stages.size(); ++s) {
    CAPTURE(s);
    CHECK(network.stages[s].has_backward == (s > 0));
    CHECK((network.stages[s].dx == kNone) == (s < 2));
  }
  // With a bias, which is trained, it has one.
  const std::string biased = "conv2d: {out_channels: 24, kernel_size: 2, init: whiten}";
  CHECK(network_of(biased + ", flatten, linear: 4").stages.front().has_backward);
}

TEST_CASE("the gradient of a ReLU between two blocks is taken where the second one's paths part") {
  const Network two = network_of(kConv + ", " + kBlock + ", " + kBlock + ", flatten, linear: 4");
  std::vector<int> relus, rectified;
  for (const Stage& stage : two.stages) {
    if (stage.kind == "relu") relus.push_back(stage.has_backward ? stage.output : kNone);
    if (stage.kind == "fork") rectified.push_back(stage.rectified);
  }
  REQUIRE(relus.size() == 2);  // those inside are a norm's
  CHECK(relus[0] == kNone);
  CHECK(relus[1] != kNone);
  CHECK(rectified[0] == kNone);
  CHECK(rectified[1] != kNone);
  // The ReLU at the end of a branch is none of the shortcut's.
  const Network apart = network_of(kConv + ", residual: {layers: [" + kConv + ", relu], shortcut: [residual: [" +
                                   kConv + "]]}, flatten, linear: 4");
  for (const Stage& stage : apart.stages) {
    CHECK(stage.rectified == kNone);
    CHECK(stage.has_backward == (stage.kind != "add"));
  }
}

TEST_CASE("no stage overwrites what another still reads") {
  for (const std::string& layers :
       {kBlock, "residual: {layers: [relu, " + kConv + "], shortcut: [relu, " + kConv + "]}, silu",
        kConv +
            ", residual: [dropout: 0.5], dropout: 0.5, residual: {layers: [dropout: 0.1], shortcut: [dropout: 0.2]}",
        kConv + ", residual: {layers: [flatten], shortcut: [flatten]}, " + "relu"}) {
    CAPTURE(layers);
    const std::string whole =
        (layers == kBlock ? "conv2d: {out_channels: 8, kernel_size: 1}, " : "") + layers + ", flatten, linear: 4";
    const Network network = network_of(whole);
    std::vector<int> forks;  // places that a shortcut still reads
    for (const Stage& stage : network.stages) {
      CAPTURE(stage.kind);
      if (stage.kind == "fork") {
        forks.push_back(stage.input);
        continue;
      }
      if (stage.kind == "add") {
        CHECK(stage.output != stage.other);
        CHECK(stage.output != forks.back());
        forks.pop_back();
      } else if (!stage.layer->passes_through()) {
        for (const int fork : forks) CHECK(stage.output != fork);
      }
      CHECK((stage.output != 0 || stage.layer->passes_through()));
    }
    for (const Stage& stage : network.stages) {
      if (stage.kind == "fork" && stage.has_backward) {
        CHECK(stage.dx != stage.dy);
        CHECK(stage.base != kNone);
      }
    }
  }
}

TEST_CASE("backward finishes gradients in the order in which they lie") {
  const auto kernels = make_cpu_kernels();
  const ModelSpec spec = spec_of(kConv + ", batch_norm, residual: {layers: [" + kConv +
                                 ", group_norm: 2], shortcut: projection}, relu, " + kBlock + ", flatten, linear: 4");
  Model model(spec, *kernels, 8);
  model.prepare(std::vector<std::int64_t>{8});
  const Buffer values = Buffer::host_floats(model.parameters().floats()),
               gradients = Buffer::host_floats(model.parameters().floats());
  model.parameters().initialise(1, values.floats());
  model.bind(values.floats());
  const std::vector<float> x(8 * 3 * 64, 0.5f);
  const std::vector<std::int32_t> labels(8, 1);
  const std::vector<std::int64_t> ids(8, 3);
  std::fill_n(gradients.floats(), model.parameters().floats(), 77.0f);
  LossSum loss;
  const std::int64_t step = 0;
  std::int64_t done = 0;
  model.train(1, {step, &step}, {8, ids.data(), x.data(), labels.data()},
              {.gradients = gradients.floats(), .loss = &loss, .finished = [&](std::int64_t floats) {
                 CHECK(floats > done);
                 for (const Parameter& p : model.parameters().all()) {
                   CAPTURE(p.name);
                   // Each is written when it is said to be, and not before.
                   if (p.offset < floats) CHECK(gradients.floats()[p.offset] != 77.0f);
                   if (p.offset >= floats) CHECK(gradients.floats()[p.offset] == 77.0f);
                 }
                 done = floats;
               }});
  const Parameter& last = model.parameters().all().back();
  CHECK(done == last.offset + last.desc.stored_floats);
}

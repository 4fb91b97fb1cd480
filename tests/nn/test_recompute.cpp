// Recomputed blocks: the same bits with less memory, wherever such a block stands, and nothing overwritten that is
// still read.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstring>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/gradient_check.h"
#include "support/one_thread.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

ModelSpec spec_of(const std::string& layers) {
  return read_job_text(
             fmt::format(
                 "dataset: {{name: none}}\nmodel: {{input: [3, 8, 7], layers: [{}]}}\n"
                 "train: {{steps: 1, global_batch_size: 8, micro_batch_size: 8, optimizer: {{name: sgd, lr: 0.1}}}}\n",
                 layers),
             "recompute.yaml")
      .model;
}

/// Two steps and an evaluation of a model.
struct Trained {
  explicit Trained(const ModelSpec& spec, ElementType type = ElementType::float32)
      : kernels(make_cpu_kernels()), model(spec, *kernels, 6, type), draws(2) {
    model.prepare(std::vector<std::int64_t>{6, 5});
    const std::int64_t floats = model.parameters().floats();
    weights = Buffer::host_floats(floats);
    model.parameters().initialise(3, weights.floats());
    model.bind(weights.floats());
    for (const std::int64_t samples : {6, 5}) {
      x = draws.vector(samples * 3 * 8 * 7);
      labels.clear();
      ids.clear();
      for (std::int64_t s = 0; s < samples; ++s) {
        labels.push_back(static_cast<std::int32_t>(draws.below(4)));
        ids.push_back(50 + s);
      }
      const Buffer out = Buffer::host_floats(floats);
      std::fill_n(out.floats(), floats, 77.0f);  // what no layer writes is nobody's
      losses.push_back(model.train(5, samples, ids, x.data(), labels.data(), out.floats()).loss);
      gradients.insert(gradients.end(), out.floats(), out.floats() + floats);
      losses.push_back(model.evaluate(samples, ids, x.data(), labels.data()).loss);
    }
  }
  std::unique_ptr<Kernels> kernels;
  Model model;
  Draws draws;
  Buffer weights;
  std::vector<float> x, gradients;
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> ids;
  std::vector<double> losses;
};

void check_same(const std::string& with, const std::string& without, bool smaller = true) {
  CAPTURE(with);
  for (const ElementType type : {ElementType::float32, ElementType::bfloat16}) {
    if (!cpu_lacks(type).empty()) continue;
    const Trained a(spec_of(with), type), b(spec_of(without), type);
    CHECK(a.losses == b.losses);
    REQUIRE(a.gradients.size() == b.gradients.size());
    CHECK(std::memcmp(a.gradients.data(), b.gradients.data(), a.gradients.size() * sizeof(float)) == 0);
    if (smaller) CHECK(a.model.activation_bytes() < b.model.activation_bytes());
  }
}

std::string conv(int channels, int stride = 1) {
  return fmt::format("conv2d: {{out_channels: {}, kernel_size: 3, padding: 1, stride: {}}}", channels, stride);
}

/// What a block of 20 channels may consist of.
std::vector<std::string> insides() {
  return {conv(20) + ", batch_norm, relu, " + conv(20) + ", batch_norm",
          "batch_norm, relu, " + conv(20) + ", dropout: 0.3, group_norm: 2, silu, " + conv(20),
          conv(24) + ", gelu, dropout: 0.2, " + conv(20) + ", tanh",
          "dropout: 0.4, " + conv(20) + ", relu, dropout: 0.1",
          conv(20) + ", relu, max_pool2d: {kernel_size: 3, stride: 1, padding: 1}, layer_norm, tanh, leaky_relu: 0.1",
          "relu, residual: [" + conv(20) + ", relu, " + conv(20) + "], relu, residual: [silu], " + conv(20)};
}

}  // namespace

TEST_CASE("recomputed residual blocks: the same bits, less memory") {
  for (const std::string& inside : insides()) {
    for (const char* behind : {"", ", relu", ", silu", ", dropout: 0.2"}) {
      const auto network = [&](const char* recompute) {
        const std::string block = fmt::format("residual: {{{}layers: [{}]}}{}", recompute, inside, behind);
        return fmt::format("{}, relu, {}, {}, {}, flatten, linear: 4", conv(20), block, block, block);
      };
      check_same(network("recompute: true, "), network(""));
    }
  }
  const auto branched = [](const char* recompute) {
    return fmt::format(
        "{}, residual: {{{}layers: [{}, batch_norm, relu, {}, batch_norm], shortcut: projection}}, relu, "
        "residual: {{{}layers: [relu, {}, silu], shortcut: [tanh, {}, gelu]}}, flatten, linear: 4",
        conv(20), recompute, conv(24, 2), conv(24), recompute, conv(24), conv(24));
  };
  check_same(branched("recompute: true, "), branched(""));
}

TEST_CASE("recomputed repeats, whose layers keep their names: the same bits") {
  for (const std::string& inside : insides()) {
    for (const char* behind : {"", "relu, ", "max_pool2d: 2, ", "dropout: 0.3, ", "relu, max_pool2d: 2, "}) {
      const auto network = [&](const char* recompute) {
        return fmt::format("{}, repeat: {{times: 3, {}layers: [{}]}}, {}flatten, linear: 4", conv(20), recompute,
                           inside, behind);
      };
      check_same(network("recompute: true, "), network(""));
    }
  }
}

TEST_CASE("blocks that begin or end in the midst of what is computed together") {
  const auto block = [](const std::string& layers) {
    return "repeat: {times: 1, recompute: true, layers: [" + layers + "]}";
  };
  const std::string c = conv(20), tail = ", flatten, linear: 4";
  const auto check = [&](const std::string& with, const std::string& without) {
    check_same(with + tail, without + tail, false);
  };
  check(block(c) + ", relu, max_pool2d: 2", c + ", relu, max_pool2d: 2");
  check(c + ", " + block("relu") + ", max_pool2d: 2", c + ", relu, max_pool2d: 2");
  check(c + ", " + block("relu, max_pool2d: 2"), c + ", relu, max_pool2d: 2");
  check(c + ", relu, " + block("max_pool2d: 2, " + c), c + ", relu, max_pool2d: 2, " + c);
  check(block(c + ", relu") + ", max_pool2d: 2", c + ", relu, max_pool2d: 2");
  check(c + ", " + block("batch_norm") + ", relu", c + ", batch_norm, relu");
  check(c + ", batch_norm, " + block("relu, " + c), c + ", batch_norm, relu, " + c);
  check(c + ", batch_norm, " + block("relu"), c + ", batch_norm, relu");
  check(block("dropout: 0.2") + ", " + c, "dropout: 0.2, " + c);
  check(block("relu, tanh") + ", " + block("silu"), "relu, tanh, silu");
  check(c + ", " + block("flatten"), c + ", flatten");
  check(c + ", " + block(c + ", flatten, linear: 9, softmax") + ", linear: 5",
        c + ", " + c + ", flatten, linear: 9, softmax, linear: 5");
  // The whole model but for its input.
  check_same(block(c + ", relu" + tail), c + ", relu" + tail, false);
}

TEST_CASE("blocks inside of blocks: the same bits, and memory for one of each depth") {
  const auto network = [&](const char* outer, const char* inner) {
    return fmt::format(
        "{0}, repeat: {{times: 2, {1}layers: [{0}, repeat: {{times: 2, {2}layers: [batch_norm, relu, {0}, silu]}}, "
        "residual: {{{2}layers: [{0}, gelu, {0}, tanh]}}]}}, relu, residual: {{{1}layers: [residual: {{{2}layers: "
        "[{0}, "
        "batch_norm, relu, {0}]}}, tanh, residual: {{{2}layers: [silu, {0}]}}]}}, flatten, linear: 4",
        conv(20), outer, inner);
  };
  const std::string yes = "recompute: true, ", no;
  check_same(network(yes.c_str(), ""), network("", ""));
  check_same(network("", yes.c_str()), network("", ""));
  check_same(network(yes.c_str(), yes.c_str()), network("", ""));
  check_same(network(yes.c_str(), yes.c_str()), network(yes.c_str(), ""));
}

TEST_CASE("the gradient of the loss through recomputed blocks") {
  const ModelSpec spec =
      spec_of(fmt::format("{0}, residual: {{recompute: true, layers: [batch_norm: {{eps: 0.1}}, silu, {0}, tanh]}}, "
                          "repeat: {{times: 2, recompute: "
                          "true, layers: [{0}, gelu, dropout: 0.2]}}, flatten, linear: 4",
                          conv(10)));
  Trained t(spec);
  const ParameterTable& table = t.model.parameters();
  for (const Parameter& p : table.all()) {
    std::vector<float> values = t.draws.vector(p.desc.shape.elements());
    for (float& v : values) v /= 8;
    table.set_canonical(p, values.data(), t.weights.floats());
  }
  const Buffer out = Buffer::host_floats(table.floats()), ignored = Buffer::host_floats(table.floats());
  const auto train = [&](float* to) {
    return t.model.train(5, 9, t.ids, t.x.data(), t.labels.data(), to).loss;  // another step would draw other masks
  };
  train(out.floats());
  for (const Parameter& p : table.all()) {
    if (p.desc.role == ParameterRole::statistic) continue;
    CAPTURE(p.name);
    std::vector<float> values = table.canonical(p, t.weights.floats());
    const auto objective = [&] {
      table.set_canonical(p, values.data(), t.weights.floats());
      return train(ignored.floats());
    };
    CHECK(gradient_error(values, table.canonical(p, out.floats()), 0x1p-5f, 0.02, objective, t.draws, 8) < 5e-3);
    table.set_canonical(p, values.data(), t.weights.floats());
  }
}

TEST_CASE("only what backward reads is computed again") {
  const auto kernels = make_cpu_kernels();
  const Network network =
      build_network(spec_of(conv(20) + ", relu, residual: {recompute: true, layers: [" + conv(20) +
                            ", batch_norm, relu, " + conv(20) + ", batch_norm]}, relu, flatten, linear: 4"),
                    *kernels, 6);
  std::vector<std::string> again;
  for (const Stage& stage : network.stages) {
    for (const std::size_t s : stage.again) again.push_back(network.stages[s].kind);
  }
  // The second norm's output is in the sum alone.
  CHECK(again == std::vector<std::string>{"conv2d", "batch_norm", "conv2d"});
}

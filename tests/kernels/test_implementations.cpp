// No operation of a shape that people train runs on oneDNN's reference implementations, which are slower by far.
#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "nn/model.h"
#include "spec/reader.h"
#include "support/one_thread.h"

using namespace dptrain;

namespace {

const std::vector<std::int64_t> kBatches{64, 32, 7, 1, 256};

/// Whether a name stands for a reference implementation: "ref:any", "ref_deconvolution", "gemm:ref"; or for the plain
/// loops of "simple_nchw:any", which is no better (a reorder's "simple:any" is the usual one).
bool is_reference(const std::string& name) {
  return name.find("ref") != std::string::npos || name.find("simple_") != std::string::npos;
}

std::vector<ElementType> types() {
  if (cpu_lacks(ElementType::bfloat16).empty()) return {ElementType::float32, ElementType::bfloat16};
  return {ElementType::float32};
}

void check_model(const ModelSpec& spec, const std::string& what, ElementType type) {
  for (const std::int64_t full : kBatches) {
    std::vector<std::int64_t> batches{full};
    for (const std::int64_t batch : kBatches) {
      if (batch != full) batches.push_back(batch);
    }
    const auto kernels = make_cpu_kernels();
    Model model(spec, *kernels, full, type);
    model.prepare(batches);
    std::size_t place = 0;
    for (const Model::StageInfo& stage : model.stages()) {
      for (const std::string& name : stage.implementations) {
        CHECK_MESSAGE(!is_reference(name),
                      fmt::format("{} planned for {} in {} bytes: stage {} {} -> {}: {}", what, full, bytes_of(type),
                                  place, stage.kind, stage.output.shape.text(), name));
      }
      ++place;
    }
  }
}

void check_layers(const std::string& input, const std::string& layers) {
  const std::string text = fmt::format(
      "dataset: {{name: none}}\nmodel: {{input: {}, layers: [{}]}}\n"
      "train: {{steps: 1, global_batch_size: 1, optimizer: {{name: sgd, lr: 0.1}}}}\n",
      input, layers);
  for (const ElementType type : types())
    check_model(read_job_text(text, "shapes.yaml").model, input + " " + layers, type);
}

std::string conv(int channels, int kernel, const std::string& more = "") {
  return fmt::format("conv2d: {{out_channels: {}, kernel_size: {}{}}}", channels, kernel, more);
}

}  // namespace

TEST_CASE("shipped configs") {
  int checked = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(DPTRAIN_SOURCE_DIR "/configs")) {
    if (entry.path().extension() != ".yaml") continue;
    for (const ElementType type : types())
      check_model(read_job(entry.path()).model, entry.path().filename().string(), type);
    ++checked;
  }
  CHECK(checked >= 4);
}

TEST_CASE("networks people know") {
  check_layers("[1, 28, 28]", conv(20, 5) + ", max_pool2d: 2, " + conv(50, 5) +
                                  ", max_pool2d: 2, flatten, linear: 500, relu, linear: 10");
  check_layers("[1, 32, 32]", conv(6, 5) + ", tanh, avg_pool2d: 2, " + conv(16, 5) + ", tanh, avg_pool2d: 2, " +
                                  conv(120, 5) + ", tanh, flatten, linear: 84, tanh, linear: 10");
  const std::string p1 = ", padding: 1";
  check_layers("[1, 28, 28]", conv(32, 3, p1) + ", relu, max_pool2d: 2, " + conv(64, 3, p1) +
                                  ", relu, max_pool2d: 2, " + conv(128, 3, p1) +
                                  ", relu, max_pool2d: 2, flatten, linear: 10");
  check_layers("[3, 32, 32]", conv(32, 3, p1) + ", relu, " + conv(32, 3, p1) +
                                  ", relu, max_pool2d: 2, dropout: 0.25, " + conv(64, 3, p1) +
                                  ", relu, avg_pool2d: 2, dropout: 0.25, flatten, linear: 512, relu, linear: 100");
  check_layers("[784]", "linear: 512, sigmoid, linear: 256, gelu, linear: 10, softmax");
  check_layers("[13]", "linear: 7, tanh, linear: 1");
}

TEST_CASE("layers on their own and behind a convolution") {
  const char* layers[] = {"relu",
                          "leaky_relu",
                          "leaky_relu: -0.5",
                          "gelu",
                          "sigmoid",
                          "tanh",
                          "softmax",
                          "max_pool2d: 2",
                          "avg_pool2d: 2",
                          "max_pool2d: {kernel_size: 3, stride: 2, padding: 1}",
                          "avg_pool2d: {kernel_size: 3, stride: 2, padding: 1}",
                          "dropout: 0.5"};
  for (const int channels : {1, 3, 5, 8, 16, 20, 32, 50, 64}) {
    for (const char* layer : layers) {
      check_layers("[1, 12, 12]", conv(channels, 3) + ", " + layer + ", flatten, linear: 10");
      check_layers(fmt::format("[{}, 12, 12]", channels),
                   fmt::format("{}, {}, flatten, linear: 10", layer, conv(8, 3)));
      check_layers(fmt::format("[{}]", channels),
                   fmt::format("linear: {}, {}, linear: 10", channels + 1,
                               std::string(layer).find("pool") == std::string::npos ? layer : "relu"));
    }
  }
}

TEST_CASE("convolutions") {
  for (const int in : {1, 3, 5, 16, 20, 32}) {
    for (const int out : {1, 6, 16, 20, 32, 50}) {
      for (const int kernel : {1, 3, 5}) {
        for (const char* more : {"", ", stride: 2", ", padding: same", ", bias: false"}) {
          if (kernel == 1 && std::string(more) == ", padding: same") continue;
          if (kernel == 5 && out == 1) continue;  // one sample of these has only a reference forward below AVX-512
          check_layers(fmt::format("[{}, 14, 14]", in),
                       fmt::format("{}, {}, flatten, linear: 10", conv(8, 1), conv(out, kernel, more)));
          check_layers(fmt::format("[{}, 14, 14]", in),
                       fmt::format("{}, flatten, linear: 10", conv(out, kernel, more)));
        }
      }
    }
  }
  for (const int channels : {8, 12, 16, 32}) {
    for (const int groups : {2, 4, channels}) {
      const std::string grouped = conv(channels, 3, fmt::format(", padding: 1, groups: {}", groups));
      check_layers("[3, 14, 14]", fmt::format("{}, {}, {}, flatten, linear: 10", conv(channels, 3), grouped, grouped));
    }
  }
}

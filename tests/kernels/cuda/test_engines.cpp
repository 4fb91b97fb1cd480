// What cuDNN's own heuristics propose for kinds of GPUs that need not be there: for every kind of convolution there is
// an engine that the rules allow, in fp32 too, and ReLU and bias are fused. It needs cuDNN and no GPU: plans are made
// from a description of one, which cuDNN takes in JSON from version 9.8 on.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <string>

#include "kernels/cuda/engines.h"

using namespace dptrain;

namespace {

// CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, CUDNN_TYPE_CHAR and CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, in part unknown
// to headers before cuDNN 9.8.
constexpr auto kProperties = static_cast<cudnnBackendDescriptorType_t>(38);
constexpr auto kChar = static_cast<cudnnBackendAttributeType_t>(24);
constexpr auto kJson = static_cast<cudnnBackendAttributeName_t>(2702);

/// The main numbers of GPUs as cuDNN names them; the others are those of Hopper, and so much for the choice.
std::string description(int capability, int processors, int shared_memory) {
  return fmt::format(
      R"({{"cudaDeviceId":0,"deviceName":"GPU","deviceVer":{},"driverVer":13000,"maxGridSize":[2147483647,65535,65535],)"
      R"("maxBlockSize":[1024,1024,64],"regsPerBlock":65536,"multiProcessorCount":{},"smClockRateKHz":1980000,)"
      R"("memClockRateKHz":3201000,"l2CacheSize":41943040,"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
      R"("maxSharedMemoryPerBlockOptin":{},"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)"
      R"("pciDeviceId":0,"maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"isTccDriver":0,)"
      R"("supportCoopLaunch":1,"totalGlobalMem":80000000000}})",
      capability, processors, shared_memory);
}

struct Shape4 {
  const char* name;
  cuda::Extents x, w;
  cuda::ConvolutionGeometry geometry;
};

const Shape4 kShapes[] = {
    {"first, 1 to 32 channels", {64, 1, 28, 28}, {32, 1, 3, 3}, {{1, 1}, {0, 0}}},
    {"32 to 64 channels", {64, 32, 26, 26}, {64, 32, 3, 3}, {{1, 1}, {0, 0}}},
    {"5 x 5, 6 to 16 channels", {64, 6, 14, 14}, {16, 6, 5, 5}, {{1, 1}, {0, 0}}},
    {"two groups", {16, 8, 10, 10}, {8, 4, 3, 3}, {{1, 1}, {1, 1}}},
    {"one group a channel", {16, 8, 10, 10}, {8, 1, 3, 3}, {{1, 1}, {1, 1}}},
    {"512 channels", {32, 512, 14, 14}, {512, 512, 3, 3}, {{1, 1}, {1, 1}}},
    {"1 x 1", {32, 256, 14, 14}, {1024, 256, 1, 1}, {{1, 1}, {0, 0}}},
    {"one sample", {1, 3, 7, 7}, {5, 3, 3, 3}, {{1, 1}, {0, 0}}},
    {"oblong, with pixels left over", {3, 7, 19, 17}, {9, 7, 7, 5}, {{3, 2}, {1, 2}}},
    {"7 x 7 by steps of 2", {32, 3, 64, 64}, {64, 3, 7, 7}, {{2, 2}, {3, 3}}},
};

constexpr ElementType kFloats = ElementType::float32;

enum class Direction { fused, forward, backward_weights, backward_data };

/// `of_gradient` is the type of what a backward pass stores.
cuda::OperationGraph graph_of(const Shape4& s, Direction direction, ElementType type, ElementType of_gradient) {
  const auto extent = [&](std::size_t i) {
    return (s.x[i + 2] + 2 * s.geometry.padding[i] - s.w[i + 2]) / s.geometry.stride[i] + 1;
  };
  const cuda::Extents y_extents{s.x[0], s.w[0], extent(0), extent(1)};
  cuda::OperationGraph graph(type);
  const ElementType of_weights = direction == Direction::backward_weights ? of_gradient : type;
  const auto x = graph.tensor(1, s.x), w = graph.tensor(2, s.w, of_weights), y = graph.tensor(3, y_extents);
  if (direction == Direction::forward) graph.convolution(s.geometry, x, w, y);
  if (direction == Direction::backward_weights) graph.convolution_backward_weights(s.geometry, x, y, w);
  if (direction == Direction::backward_data) graph.convolution_backward_data(s.geometry, y, w, x);
  if (direction == Direction::fused) {
    const auto bias = graph.tensor(4, {1, s.w[0], 1, 1});
    const auto products = graph.intermediate(5, y_extents), sums = graph.intermediate(6, y_extents);
    graph.convolution(s.geometry, x, w, products);
    graph.add(products, bias, sums);
    graph.relu(sums, y);
  }
  graph.finalize(nullptr);
  return graph;
}

}  // namespace

TEST_CASE("an engine for every convolution, within the rules, on GPUs that need not be here") {
  if (cudnnGetVersion() < 90800) {
    MESSAGE("this cuDNN cannot be told of a GPU that is not here: " << cudnnGetVersion());
    return;
  }
  struct Kind {
    const char* name;
    int capability, processors, shared_memory;
  };
  for (const Kind& kind : {Kind{"A100", 800, 108, 166912}, Kind{"H200", 900, 132, 232448}}) {
    CAPTURE(kind.name);
    cuda::Descriptor properties(kProperties);
    const std::string json = description(kind.capability, kind.processors, kind.shared_memory);
    properties.set(kJson, kChar, static_cast<std::int64_t>(json.size()), json.data());
    if (properties.try_finalize() != CUDNN_STATUS_SUCCESS) {
      MESSAGE("this cuDNN describes GPUs otherwise: " << cudnnGetVersion());
      return;
    }
    const cuda::Target target{.properties = properties.get()};
    for (const Shape4& shape : kShapes) {
      CAPTURE(shape.name);
      for (const auto direction :
           {Direction::fused, Direction::forward, Direction::backward_weights, Direction::backward_data}) {
        CAPTURE(static_cast<int>(direction));
        for (const bool tf32 : {false, true}) {
          for (const bool reproducible : {true, false}) {
            CAPTURE(tf32);
            CAPTURE(reproducible);
            const cuda::OperationGraph graph = graph_of(shape, direction, kFloats, kFloats);
            const auto engine = cuda::choose_engine(graph, target, {tf32, reproducible}, cuda::Effort::preferred);
            CHECK(engine.has_value());
          }
        }
        for (const ElementType type : {ElementType::bfloat16, ElementType::float16}) {
          for (const bool reproducible : {true, false}) {
            CAPTURE(static_cast<int>(type));
            CAPTURE(reproducible);
            const cuda::OperationGraph graph = graph_of(shape, direction, type, type);
            const auto engine = cuda::choose_engine(graph, target, {true, reproducible}, cuda::Effort::preferred);
            CHECK(engine.has_value());
            if (direction != Direction::backward_weights) continue;
            // What a GPU's operations would rather have, and do without: see convolution.cpp.
            const cuda::OperationGraph wider = graph_of(shape, direction, type, kFloats);
            if (cuda::choose_engine(wider, target, {true, reproducible}, cuda::Effort::any))
              MESSAGE("this cuDNN stores gradients of 16-bit convolutions as floats: " << cudnnGetVersion());
          }
        }
      }
    }
  }
}

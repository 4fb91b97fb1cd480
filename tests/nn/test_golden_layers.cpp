// Every layer of tests/golden against PyTorch, in every layout that its input can have.
#include <doctest/doctest.h>

#include "support/compare.h"
#include "support/golden.h"
#include "support/layer_bench.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-5;  // relative to the tensor's largest value, see difference()

void compare(LayerBench& bench, const SafetensorsFile& golden) {
  for (const Parameter& p : bench.table().all()) bench.set_parameter(p.name, golden.floats(p.name));
  CHECK(difference(bench.forward(golden.floats("x")), golden.floats("y")) < kTolerance);
  const LayerBench::Gradients gradients = bench.backward(golden.floats("dy"));
  CHECK(difference(gradients.dx, golden.floats("dx")) < kTolerance);
  CHECK(gradients.parameters.size() == static_cast<std::size_t>(golden.contains("weight") + golden.contains("bias")));
  for (const auto& [name, gradient] : gradients.parameters) {
    CAPTURE(name);
    CHECK(difference(gradient, golden.floats("d" + name)) < kTolerance);
  }
}

}  // namespace

TEST_CASE("layers agree with PyTorch in every layout") {
  int compared = 0;
  for (const auto& path : golden_files("layers")) {
    CAPTURE(path.filename().string());
    const SafetensorsFile golden = read_safetensors(path);
    const GoldenLayer spec = golden_layer(golden);
    const std::int64_t batch = golden.tensor("x").shape[0];
    for (const Layout& layout : all_layouts(spec.input)) {
      const TensorDesc tensor(spec.input, layout);
      if (!takes_layout(spec.layer, tensor)) continue;
      CAPTURE(static_cast<int>(layout.order));
      CAPTURE(layout.block);
      LayerBench bench(spec.layer, spec.input, {.layout = layout, .batches = {batch}, .fused = {}});
      compare(bench, golden);
      ++compared;
    }
  }
  CHECK(compared > 100);  // 47 files, most of them in four layouts
}

TEST_CASE("layers give the same in a batch size that did not decide the layouts") {
  for (const auto& path : golden_files("layers")) {
    CAPTURE(path.filename().string());
    const SafetensorsFile golden = read_safetensors(path);
    const GoldenLayer spec = golden_layer(golden);
    LayerBench bench(spec.layer, spec.input, {.layout = {}, .batches = {32, golden.tensor("x").shape[0]}, .fused = {}});
    compare(bench, golden);
  }
}

TEST_CASE("an activation inside the kernel before it gives what it gives alone") {
  const ActivationSpec activations[] = {{ActivationKind::relu},
                                        {ActivationKind::tanh},
                                        {ActivationKind::leaky_relu, 0.01},
                                        {ActivationKind::leaky_relu, 0.3}};
  for (const char* name :
       {"linear", "linear_blocked", "linear_no_bias", "conv2d_k3", "conv2d_first", "conv2d_groups"}) {
    const SafetensorsFile golden = read_safetensors(golden_folder() / "layers" / (std::string(name) + ".safetensors"));
    const GoldenLayer spec = golden_layer(golden);
    const std::int64_t batch = golden.tensor("x").shape[0];
    for (const ActivationSpec& activation : activations) {
      CAPTURE(name);
      REQUIRE(can_fuse(spec.layer, LayerSpec{activation, {}}));
      LayerBench bench(spec.layer, spec.input, {.layout = {}, .batches = {batch}, .fused = activation});
      for (const Parameter& p : bench.table().all()) bench.set_parameter(p.name, golden.floats(p.name));
      const std::vector<float> y = bench.forward(golden.floats("x"));
      std::vector<float> expected;
      for (const float v : golden.floats("y")) {
        const float slope =
            activation.kind == ActivationKind::relu ? 0.0f : static_cast<float>(activation.negative_slope);
        expected.push_back(activation.kind == ActivationKind::tanh ? std::tanh(v) : v > 0 ? v : slope * v);
      }
      CHECK(difference(y, expected) < kTolerance);
    }
  }
}

TEST_CASE("activations that may not be fused are not") {
  const LayerSpec linear{LinearSpec{.out_features = 3}, {}}, flatten{FlattenSpec{}, {}};
  CHECK_FALSE(can_fuse(linear, {ActivationSpec{ActivationKind::gelu}, {}}));     // backward reads its input
  CHECK_FALSE(can_fuse(linear, {ActivationSpec{ActivationKind::sigmoid}, {}}));  // would fill padding
  CHECK_FALSE(can_fuse(linear, {ActivationSpec{ActivationKind::leaky_relu, -0.5}, {}}));
  CHECK_FALSE(can_fuse(linear, flatten));
  CHECK_FALSE(can_fuse(flatten, {ActivationSpec{}, {}}));
}

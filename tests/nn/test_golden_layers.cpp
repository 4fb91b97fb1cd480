// Every layer of tests/golden against PyTorch, in every layout that its input can have.
#include <doctest/doctest.h>

#include "support/compare.h"
#include "support/golden.h"
#include "support/layer_bench.h"
#include "support/process.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 1e-5;  // relative to the tensor's largest value, see difference()

/// Those of the file; statistics are left as they start.
void set_parameters(LayerBench& bench, const SafetensorsFile& golden) {
  for (const Parameter& p : bench.table().all()) {
    if (p.desc.role != ParameterRole::statistic) bench.set_parameter(p.name, golden.floats(p.name));
  }
}

/// Where a step of these samples moves a statistic from its start.
std::vector<float> moved(const Parameter& p, std::vector<float> sums, std::int64_t samples) {
  const auto rate = static_cast<float>(p.desc.statistic_rate);
  for (float& value : sums) value = *p.desc.start + rate * (value / static_cast<float>(samples) - *p.desc.start);
  return sums;
}

void compare(LayerBench& bench, const SafetensorsFile& golden) {
  set_parameters(bench, golden);
  CHECK(difference(bench.forward(golden.floats("x")), golden.floats("y")) < kTolerance);
  const LayerBench::Gradients gradients = bench.backward(golden.floats("dy"));
  CHECK(difference(gradients.dx, golden.floats("dx")) < kTolerance);
  std::size_t expected = 0;
  for (const char* name : {"weight", "bias", "running_mean", "running_var"}) expected += golden.contains(name);
  CHECK(gradients.parameters.size() == expected);
  for (const Parameter& p : bench.table().all()) {
    CAPTURE(p.name);
    const std::vector<float>& gradient = gradients.parameters.at(p.name);
    if (p.desc.role == ParameterRole::statistic)
      CHECK(difference(moved(p, gradient, golden.tensor("x").shape[0]), golden.floats(p.name)) < kTolerance);
    else
      CHECK(difference(gradient, golden.floats("d" + p.name)) < kTolerance);
  }
}

}  // namespace

TEST_CASE("a folder without golden files is an error, lest tests that compare nothing pass") {
  const test::TemporaryFolder empty;
  CHECK_THROWS_WITH(golden_files(empty.path().string()), doctest::Contains("no golden files"));
}

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

TEST_CASE("batch norms evaluate with their running statistics, in every layout") {
  for (const char* name : {"batch_norm", "batch_norm_blocked", "batch_norm_features", "batch_norm_not_affine"}) {
    CAPTURE(name);
    const SafetensorsFile golden = read_safetensors(golden_folder() / "layers" / (std::string(name) + ".safetensors"));
    const GoldenLayer spec = golden_layer(golden);
    for (const Layout& layout : all_layouts(spec.input)) {
      LayerBench bench(spec.layer, spec.input,
                       {.layout = layout, .batches = {golden.tensor("x").shape[0]}, .fused = {}, .training = false});
      for (const Parameter& p : bench.table().all()) bench.set_parameter(p.name, golden.floats(p.name));
      CHECK(difference(bench.forward(golden.floats("x")), golden.floats("y_eval")) < kTolerance);
    }
  }
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

TEST_CASE("a ReLU inside of a norm gives what it gives behind it, forward and backward") {
  for (const char* name : {"batch_norm", "batch_norm_blocked", "group_norm", "layer_norm", "layer_norm_image"}) {
    CAPTURE(name);
    const SafetensorsFile golden = read_safetensors(golden_folder() / "layers" / (std::string(name) + ".safetensors"));
    const GoldenLayer spec = golden_layer(golden);
    const LayerSpec relu{ActivationSpec{}, {}};
    REQUIRE(can_fuse(spec.layer, relu));
    const std::int64_t batch = golden.tensor("x").shape[0];
    for (const Layout& layout : all_layouts(spec.input)) {
      if (!takes_layout(spec.layer, TensorDesc(spec.input, layout))) continue;
      LayerBench fused(spec.layer, spec.input, {.layout = layout, .batches = {batch}, .fused = ActivationSpec{}}),
          alone(spec.layer, spec.input, {.layout = layout, .batches = {batch}, .fused = {}}),
          behind(relu, spec.input, {.layout = layout, .batches = {batch}, .fused = {}});
      set_parameters(fused, golden);
      set_parameters(alone, golden);
      const std::vector<float> y = behind.forward(alone.forward(golden.floats("x")));
      CHECK(fused.forward(golden.floats("x")) == y);
      const auto gradients = fused.backward(golden.floats("dy"));
      const auto expected = alone.backward(behind.backward(golden.floats("dy")).dx);
      CHECK(gradients.dx == expected.dx);
      CHECK(gradients.parameters == expected.parameters);
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
  CHECK_FALSE(can_fuse({NormSpec{}, {}}, {ActivationSpec{ActivationKind::tanh}, {}}));
}

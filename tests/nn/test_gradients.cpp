// Backward against finite differences of forward, for every layer and loss, over random shapes, settings and layouts.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "support/gradient_check.h"
#include "support/layer_bench.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

constexpr double kTolerance = 2e-3;  // relative to the largest gradient; a wrong term is off by far more

enum class Inputs { any, away_from_zero, apart };

/// Compares the gradients of x and of all parameters.
void check_gradients(const LayerSpec& spec, const Shape& input, Layout layout, std::int64_t batch, Inputs inputs,
                     float step, bool training = true) {
  if (input.rank() != 3 || !takes_layout(spec, TensorDesc(input, layout))) layout = Layout{};
  Draws draws(*rc::gen::arbitrary<std::uint64_t>());
  LayerBench bench(spec, input, {.layout = layout, .batches = {batch}, .fused = {}, .training = training});
  const std::int64_t count = batch * input.elements();
  std::vector<float> x = inputs == Inputs::any              ? draws.vector(count)
                         : inputs == Inputs::away_from_zero ? draws.away_from_zero(count, 4 * step)
                                                            : draws.apart(count, 8 * step);
  std::map<std::string, std::vector<float>> parameters;
  for (const Parameter& p : bench.table().all()) {
    parameters[p.name] = draws.vector(p.desc.shape.elements());
    bench.set_parameter(p.name, parameters[p.name]);
  }
  const std::vector<float> dy = draws.vector(batch * bench.layer().output().shape.elements());
  const auto objective = [&] {
    const std::vector<float> y = bench.forward(x);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += double{y[i]} * double{dy[i]};
    return sum;
  };
  objective();
  const LayerBench::Gradients gradients = bench.backward(dy);
  RC_ASSERT(gradient_error(x, gradients.dx, step, 0.01, objective, draws) < kTolerance);
  for (auto& [name, values] : parameters) {
    if (name.starts_with("running")) continue;  // a statistic's gradient is what the batch has, see test_norms.cpp
    const auto with_parameter = [&, &name = name, &values = values] {
      bench.set_parameter(name, values);
      return objective();
    };
    RC_ASSERT(gradient_error(values, gradients.parameters.at(name), 0.25f, 0.01, with_parameter, draws) < kTolerance);
    bench.set_parameter(name, values);
  }
}

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::inRange(low, high + 1);
}
std::int64_t a_batch() {
  return *rc::gen::elementOf(std::vector<std::int64_t>{1, 1, 2, 3, 5});
}
std::int64_t channels() {
  return *rc::gen::elementOf(std::vector<std::int64_t>{1, 3, 5, 8, 16, 20, 50});
}
Layout a_layout() {
  return *rc::gen::elementOf(all_layouts(Shape{1, 1, 1}));
}
Shape image() {
  return Shape{channels(), between(1, 6), between(1, 6)};
}

/// A window of random extents that fits; paddings up to `largest_padding` of the kernel.
template <class Window>
Window window(Window w, const Shape& in, bool pool) {
  w.kernel_height = between(1, std::min<std::int64_t>(in[1], 3));
  w.kernel_width = between(1, std::min<std::int64_t>(in[2], 4));
  w.stride_height = between(1, 3);
  w.stride_width = between(1, 3);
  w.padding_height = between(0, pool ? w.kernel_height / 2 : w.kernel_height - 1);
  w.padding_width = between(0, pool ? w.kernel_width / 2 : w.kernel_width - 1);
  return w;
}

}  // namespace

TEST_CASE("linear") {
  CHECK(rc::check([] {
    const LinearSpec linear{.out_features = between(1, 40), .bias = *rc::gen::arbitrary<bool>()};
    check_gradients({linear, {}}, Shape{between(1, 70)}, {}, a_batch(), Inputs::any, 0.25f);
  }));
}

TEST_CASE("conv2d") {
  CHECK(rc::check([] {
    Conv2dSpec conv;
    conv.groups = *rc::gen::elementOf(std::vector<std::int64_t>{1, 1, 2, 5});
    const std::int64_t in = conv.groups == 1 ? channels() : conv.groups * between(1, 4);
    conv.out_channels = conv.groups == 1 ? channels() : conv.groups * between(1, 5);
    conv.bias = *rc::gen::arbitrary<bool>();
    const Shape input{in, between(1, 6), between(1, 6)};
    check_gradients({window(conv, input, false), {}}, input, a_layout(), a_batch(), Inputs::any, 0.25f);
  }));
}

TEST_CASE("depthwise conv2d") {
  CHECK(rc::check([] {
    Conv2dSpec conv;
    conv.out_channels = conv.groups = *rc::gen::elementOf(std::vector<std::int64_t>{3, 8, 16, 20});
    const Shape input{conv.groups, between(3, 6), between(3, 6)};
    check_gradients({window(conv, input, false), {}}, input, a_layout(), a_batch(), Inputs::any, 0.25f);
  }));
}

TEST_CASE("average pooling") {
  CHECK(rc::check([] {
    const Shape input = image();
    check_gradients({window(Pool2dSpec{PoolKind::average}, input, true), {}}, input, a_layout(), a_batch(), Inputs::any,
                    0.25f);
  }));
}

TEST_CASE("max pooling, away from ties") {
  CHECK(rc::check([] {
    const Shape input = image();
    check_gradients({window(Pool2dSpec{PoolKind::max}, input, true), {}}, input, a_layout(), a_batch(), Inputs::apart,
                    0x1p-6f);
  }));
}

TEST_CASE("activations, away from kinks") {
  CHECK(rc::check([] {
    ActivationSpec spec{*rc::gen::elementOf(
        std::vector<ActivationKind>{ActivationKind::relu, ActivationKind::leaky_relu, ActivationKind::gelu,
                                    ActivationKind::sigmoid, ActivationKind::tanh, ActivationKind::silu})};
    spec.negative_slope = *rc::gen::elementOf(std::vector<double>{0.01, 0.3, 0, -0.5, 2});
    const Shape input = *rc::gen::arbitrary<bool>() ? image() : Shape{between(1, 70)};
    check_gradients({spec, {}}, input, a_layout(), a_batch(), Inputs::away_from_zero, 0x1p-5f);
  }));
}

TEST_CASE("softmax") {
  CHECK(rc::check([] {
    const Shape input = *rc::gen::arbitrary<bool>() ? image() : Shape{between(1, 70)};
    check_gradients({SoftmaxSpec{}, {}}, input, {}, a_batch(), Inputs::any, 0x1p-5f);
  }));
}

TEST_CASE("norms") {
  CHECK(rc::check([] {
    NormSpec norm{.kind = *rc::gen::element(NormKind::batch, NormKind::group, NormKind::layer)};
    norm.affine = *rc::gen::arbitrary<bool>();
    if (norm.kind == NormKind::group) norm.groups = *rc::gen::element<std::int64_t>(1, 2, 5);
    const std::int64_t in = norm.groups * between(1, 12);
    const bool is_image = norm.kind == NormKind::group || *rc::gen::arbitrary<bool>();
    const Shape input = is_image ? Shape{in, between(1, 5), between(2, 5)} : Shape{between(2, 70)};
    // Few values that happen to be near each other make steep gradients.
    norm.epsilon = *rc::gen::element(0.1, 1.0);
    check_gradients({norm, {}}, input, a_layout(), between(2, 5), Inputs::any, 0x1p-5f);
  }));
}

TEST_CASE("global average pooling") {
  CHECK(rc::check([] { check_gradients({GlobalPoolSpec{}, {}}, image(), a_layout(), a_batch(), Inputs::any, 0.25f); }));
}

TEST_CASE("flatten and dropout") {
  CHECK(rc::check([] {
    const Shape input = image();
    check_gradients({FlattenSpec{}, {}}, input, a_layout(), a_batch(), Inputs::any, 0.25f);
    const DropoutSpec dropout{*rc::gen::elementOf(std::vector<double>{0, 0.1, 0.5, 0.9})};
    check_gradients({dropout, {}}, input, a_layout(), a_batch(), Inputs::any, 0.25f);
  }));
}

TEST_CASE("losses") {
  CHECK(rc::check([] {
    Draws draws(*rc::gen::arbitrary<std::uint64_t>());
    const auto kernels = make_cpu_kernels();
    const std::int64_t samples = a_batch(), classes = between(1, 20);
    std::vector<float> x = draws.vector(samples * classes), gradient(x.size());
    for (float& value : x) value *= 4;
    std::vector<std::int32_t> labels;
    for (std::int64_t s = 0; s < samples; ++s) labels.push_back(static_cast<std::int32_t>(between(0, classes - 1)));
    const float smoothing = *rc::gen::elementOf(std::vector<float>{0, 0.1f, 0.9f});
    for (const LossKind kind : {LossKind::cross_entropy, LossKind::mse}) {
      const auto loss = [&](float* out) {
        LossSum sum;
        if (kind == LossKind::cross_entropy)
          kernels->cross_entropy(x.data(), labels.data(), samples, classes, smoothing, out, &sum);
        else
          kernels->mean_squared_error(x.data(), labels.data(), samples, classes, out, &sum);
        return sum.loss;
      };
      loss(gradient.data());
      RC_ASSERT(gradient_error(
                    x, gradient, 0x1p-5f, 0.01, [&] { return loss(nullptr); }, draws) < kTolerance);
    }
  }));
}

TEST_CASE("the checker sees a wrong gradient") {
  Draws draws(1);
  std::vector<float> x{0.5f, -0.25f, 1.0f};
  const auto cubes = [&] {
    return double{x[0]} * x[0] * x[0] + double{x[1]} * x[1] * x[1] + double{x[2]} * x[2] * x[2];
  };
  CHECK(gradient_error(x, {0.75f, 0.1875f, 3.0f}, 0.0625f, 0.01, cubes, draws) < 1e-6);
  CHECK(gradient_error(x, {0.75f, 0.1775f, 3.0f}, 0.0625f, 0.01, cubes, draws) > kTolerance);
  CHECK(gradient_error(x, {0.75f, NAN, 3.0f}, 0.0625f, 0.01, cubes, draws) > kTolerance);
  CHECK(gradient_error(x, {0.75f}, 0.0625f, 0.01, cubes, draws) > kTolerance);
  CHECK(x == std::vector<float>{0.5f, -0.25f, 1.0f});
}

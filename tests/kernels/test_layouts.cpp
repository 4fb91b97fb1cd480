// Where elements lie, that packing and unpacking weights loses nothing and leaves padding zero, and that a linear layer
// takes a flattened image in any layout.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "support/gradient_check.h"
#include "support/layer_bench.h"

using namespace dptrain;
using namespace dptrain::testing;

TEST_CASE("the elements of a layout's places are those of its definition") {
  CHECK(rc::check([] {
    const auto extent = [](std::int64_t most) { return *rc::gen::inRange<std::int64_t>(1, most + 1); };
    const Shape shape{extent(40), extent(5), extent(5)};
    for (const Layout& layout : all_layouts(shape)) {
      const TensorDesc tensor(shape, layout);
      const std::vector<std::int64_t> at = places(tensor);
      std::vector<std::int32_t> expected(static_cast<std::size_t>(tensor.size()), -1);
      for (std::size_t e = 0; e < at.size(); ++e)
        expected[static_cast<std::size_t>(at[e])] = static_cast<std::int32_t>(e);
      RC_ASSERT(tensor.logical_elements() == expected);
      RC_ASSERT(tensor.padded() == (std::count(expected.begin(), expected.end(), -1) > 0));

      const TensorDesc flat = tensor.flattened();
      RC_ASSERT(flat.shape == Shape{shape.elements()});
      RC_ASSERT(flat.size() == tensor.size());
      RC_ASSERT(flat.logical_elements() == expected);
      RC_ASSERT(flat.flattened() == flat);
    }
  }));
}

TEST_CASE("a size is a whole number of blocks") {
  CHECK(TensorDesc(Shape{20, 3, 5}, {Layout::Order::blocked, 16}).size() == 32 * 15);
  CHECK(TensorDesc(Shape{16, 3, 5}, {Layout::Order::blocked, 16}).size() == 16 * 15);
  CHECK(TensorDesc(Shape{20, 3, 5}, {Layout::Order::channels_last, 1}).size() == 20 * 15);
  CHECK(TensorDesc(Shape{20}).size() == 20);
}

TEST_CASE("weights come back from their layout as they went in") {
  std::vector<std::pair<LayerSpec, Shape>> cases;
  const auto add = [&](const auto& op, const Shape& input) {
    LayerSpec layer;
    layer.op = op;
    cases.emplace_back(layer, input);
  };
  for (const std::int64_t channels : {1, 5, 16, 20, 50}) {
    for (const std::int64_t out : {1, 5, 16, 50}) {
      add(Conv2dSpec{.out_channels = out, .kernel_height = 3, .kernel_width = 2}, Shape{channels, 4, 5});
      add(LinearSpec{.out_features = out}, Shape{channels});
    }
    add(Conv2dSpec{.out_channels = channels, .kernel_height = 3, .kernel_width = 3, .groups = channels},
        Shape{channels, 4, 5});
  }
  Draws draws(4);
  for (const auto& [layer, input] : cases) {
    for (const Layout& layout : all_layouts(input)) {
      const LayerBench bench(layer, input, {.layout = layout, .batches = {4}, .fused = {}});
      for (const Parameter& p : bench.table().all()) {
        const std::vector<float> canonical = draws.away_from_zero(p.desc.shape.elements(), 0.5f);
        // Twice as long as needed: nothing may be written behind.
        std::vector<float> stored(static_cast<std::size_t>(2 * p.desc.stored_floats), 77.0f);
        const ParameterTable alone({{p.name, p.desc, 0, 0, 0}});
        alone.set_canonical(alone.all()[0], canonical.data(), stored.data());
        CHECK(alone.canonical(alone.all()[0], stored.data()) == canonical);
        const auto end = stored.begin() + p.desc.stored_floats;
        CHECK(std::all_of(end, stored.end(), [](float f) { return f == 77.0f; }));
        // Every element once, and all other places zero.
        CHECK(end - stored.begin() - std::count(stored.begin(), end, 0.0f) == p.desc.shape.elements());
      }
    }
  }
}

TEST_CASE("a linear layer takes a flattened image as it lies") {
  for (const std::int64_t channels : {3, 5, 20}) {
    const Shape shape{channels, 2, 3};
    Draws draws(6);
    const std::int64_t features = shape.elements(), out = 7, batch = 3;
    const std::vector<float> weight = draws.vector(features * out), x = draws.vector(batch * features);
    for (const Layout& layout : all_layouts(shape)) {
      const auto kernels = make_cpu_kernels();
      const TensorDesc image(shape, layout), flat = image.flattened();
      const auto linear =
          kernels->linear({.input = flat, .out_features = out, .bias = false, .activation = {}, .full_batch = batch});
      linear->prepare(batch);
      Buffer stored = Buffer::host_floats(linear->weight_floats()), input = Buffer::host_floats(batch * flat.size());
      Buffer y = Buffer::host_floats(batch * out), dx = Buffer::host_floats(batch * flat.size()),
             dw = Buffer::host_floats(linear->weight_floats());
      linear->pack(weight.data(), stored.floats());
      to_layout(image, x, input.floats());
      linear->forward(0, input.floats(), stored.floats(), nullptr, y.floats());
      for (std::int64_t s = 0; s < batch; ++s) {
        for (std::int64_t o = 0; o < out; ++o) {
          double sum = 0;
          for (std::int64_t f = 0; f < features; ++f)
            sum += double{x[static_cast<std::size_t>(s * features + f)]} *
                   double{weight[static_cast<std::size_t>(o * features + f)]};
          CHECK(y.floats()[s * out + o] == doctest::Approx(sum).epsilon(1e-5));
        }
      }
      linear->backward_data(0, y.floats(), stored.floats(), 0, dx.floats());
      CHECK(padding_is_zero(image, dx.floats(), batch));
      linear->backward_weights(0, input.floats(), y.floats(), dw.floats(), nullptr);
      std::vector<float> canonical(static_cast<std::size_t>(features * out)),
          again(static_cast<std::size_t>(linear->weight_floats()));
      linear->unpack(dw.floats(), canonical.data());
      linear->pack(canonical.data(), again.data());
      CHECK(std::equal(again.begin(), again.end(), dw.floats()));  // the padding's rows have no gradient
    }
  }
}

// So many weights and at most 128 samples go through the inner product of oneDNN, others through its matrix product.
// All terms are multiples of 2^-20 and their sums small: in floats they are exact in any order.
TEST_CASE("a linear layer with many weights gives the sums of its definition, at few samples and many") {
  const Shape shape{20, 8, 8};
  const std::int64_t features = shape.elements(), out = 203, most = 129;
  Draws draws(8);
  std::vector<float> weight = draws.vector(features * out);
  for (float& w : weight) w /= 16;  // or else tanh would give 1 everywhere
  const std::vector<float> bias = draws.vector(out), x = draws.vector(most * features);
  std::vector<double> sums(static_cast<std::size_t>(most * out));  // without bias
  for (std::int64_t s = 0; s < most; ++s) {
    for (std::int64_t o = 0; o < out; ++o) {
      for (std::int64_t f = 0; f < features; ++f)
        sums[static_cast<std::size_t>(s * out + o)] += double{x[static_cast<std::size_t>(s * features + f)]} *
                                                       double{weight[static_cast<std::size_t>(o * features + f)]};
    }
  }
  const std::optional<ActivationSpec> activations[] = {
      {}, ActivationSpec{ActivationKind::relu}, ActivationSpec{ActivationKind::tanh}};
  for (const Layout& layout : all_layouts(shape)) {
    const TensorDesc image(shape, layout);
    Buffer input = Buffer::host_floats(most * image.size());
    to_layout(image, x, input.floats());
    for (const bool with_bias : {false, true}) {
      for (const std::optional<ActivationSpec>& activation : activations) {
        const auto kernels = make_cpu_kernels();
        const auto linear = kernels->linear({.input = image.flattened(),
                                             .out_features = out,
                                             .bias = with_bias,
                                             .activation = activation,
                                             .full_batch = 128});
        Buffer stored = Buffer::host_floats(linear->weight_floats()), y = Buffer::host_floats(most * out);
        linear->pack(weight.data(), stored.floats());
        Slot slot = 0;
        for (const std::int64_t batch : {128, 1, 7, 129}) {
          linear->prepare(batch);
          std::fill_n(y.floats(), most * out, std::numeric_limits<float>::quiet_NaN());
          linear->forward(slot++, input.floats(), stored.floats(), with_bias ? bias.data() : nullptr, y.floats());
          double worst = 0;
          for (std::int64_t i = 0; i < batch * out; ++i) {
            double expected =
                sums[static_cast<std::size_t>(i)] + (with_bias ? double{bias[static_cast<std::size_t>(i % out)]} : 0);
            if (activation)
              expected = activation->kind == ActivationKind::relu ? std::max(expected, 0.0) : std::tanh(expected);
            const double error = std::abs(double{y.floats()[i]} - expected);
            if (!(error <= worst)) worst = error;  // NaN too
          }
          CAPTURE(image.layout.block);
          CAPTURE(with_bias);
          CAPTURE(batch);
          CHECK(worst <= (activation && activation->kind == ActivationKind::tanh ? 1e-6 : 0.0));
          CHECK(std::all_of(y.floats() + batch * out, y.floats() + most * out, [](float f) { return std::isnan(f); }));
        }
      }
    }
  }
}

#include "support/parity.h"

#include <fmt/ranges.h>

#include "support/gradient_check.h"
#include "support/parity_tensors.h"

namespace dptrain::testing {

using reference::Values;

namespace {

std::vector<std::int64_t> batches_of(std::int64_t batch) {
  return batch == 1 ? std::vector<std::int64_t>{1} : std::vector<std::int64_t>{batch, 1};
}

reference::ImageShape image_of(const Shape& shape, std::int64_t batch) {
  return {batch, shape[0], shape[1], shape[2]};
}

Values activated(const std::optional<ActivationSpec>& activation, const Values& y) {
  return activation ? reference::activation(*activation, y) : y;
}

/// The types that x and y of an affine operation may have: where a network begins and ends they are floats.
std::vector<std::pair<ElementType, ElementType>> ends_of(const Backend& backend) {
  constexpr ElementType kFloats = ElementType::float32;
  if (backend.type == kFloats) return {{kFloats, kFloats}};
  return {{backend.type, backend.type}, {kFloats, backend.type}, {backend.type, kFloats}, {kFloats, kFloats}};
}

/// What the reference says of one batch of an affine operation.
struct AffineExpectation {
  Values y;
  reference::AffineGradients gradients;
};

/// `tolerance` is of the gradient of the weights. `expect(x, weight, bias, dy)` says what shall come out.
template <class Expect>
void check_affine(Backend& backend, AffineOperation& operation, const TensorDesc& input, std::int64_t weights,
                  std::int64_t biases, std::int64_t full_batch, double tolerance, const std::string& what,
                  const Expect& expect) {
  Draws draws(5);
  std::vector<float> weight = rounded(draws.vector(weights), backend.type);
  const std::vector<float> bias = rounded(draws.vector(biases), operation.output().type);
  std::vector<float> packed(static_cast<std::size_t>(operation.weight_floats()));
  const std::vector<std::int64_t> batches = batches_of(full_batch);
  for (const std::int64_t batch : batches) operation.prepare(batch);
  DeviceTensor w = vector_of(backend, operation.weight_floats()), b = vector_of(backend, biases, bias);
  const float* bias_data = biases == 0 ? nullptr : b.floats();
  for (std::size_t slot = batches.size(); slot-- > 0;) {
    const std::int64_t batch = batches[slot];
    // Other weights at the same place, under another number: copies of them are made anew.
    const auto version = static_cast<std::int64_t>(batches.size() - slot);
    for (float& value : weight) value = -value;
    operation.pack(weight.data(), packed.data());
    backend.kernels->upload(packed.data(), packed.size() * sizeof(float), w.floats());
    const std::vector<float> x = rounded(draws.vector(batch * input.shape.elements()), backend.type);
    const std::vector<float> dy = rounded(draws.vector(batch * operation.output().shape.elements()), backend.type);
    const AffineExpectation expected = expect(batch, wide(x), wide(weight), wide(bias), wide(dy));
    DeviceTensor dx(backend, input, batch), y(backend, operation.output(), batch),
        dw = vector_of(backend, operation.weight_floats()), db = vector_of(backend, biases);
    const DeviceTensor in(backend, input, batch, x), difference(backend, operation.output(), batch, dy);
    backend.run([&] {
      operation.set_weights(w.floats(), bias_data, version);
      operation.forward(static_cast<Slot>(slot), in.data(), w.floats(), bias_data, y.data());
      operation.backward_weights(static_cast<Slot>(slot), in.data(), difference.data(), dw.floats(),
                                 biases == 0 ? nullptr : db.floats());
      operation.backward_data(static_cast<Slot>(slot), difference.data(), w.floats(), version, dx.data());
    });
    const std::string at = fmt::format("{}, batch {} by {}", what, batch, fmt::join(operation.implementations(), ", "));
    compare(y, expected.y, at + ": y");
    compare(dx.plain(), expected.gradients.x, at + ": dx",
            tolerance_of(backend.type));  // perhaps rounded, then widened
    std::vector<float> canonical(static_cast<std::size_t>(weights));
    operation.unpack(dw.stored(), canonical.data());
    compare(canonical, expected.gradients.weight, at + ": dw", tolerance);
    if (biases > 0) compare(db, expected.gradients.bias, at + ": db");
  }
}

/// forward and backward of an operation on its own; `in_place` backward writes dx over dy.
template <class Forward, class Backward>
void check_unary(Backend& backend, UnaryOperation& operation, const TensorDesc& input, std::int64_t full_batch,
                 bool in_place, const std::string& what, const Forward& forward, const Backward& backward) {
  Draws draws(6);
  const std::vector<std::int64_t> batches = batches_of(full_batch);
  for (const std::int64_t batch : batches) operation.prepare(batch);
  for (std::size_t slot = batches.size(); slot-- > 0;) {
    const std::int64_t batch = batches[slot];
    // No two equal, which maxima want; no zero, which kinks do not like.
    std::vector<float> x = draws.apart(batch * input.shape.elements(), 0x1p-6f);
    for (float& value : x) value = std::fmod(value, 8.0f) + 0x1p-9f;
    x = rounded(x, input.type);
    const std::vector<float> dy = rounded(draws.vector(batch * operation.output().shape.elements()), backend.type);
    const DeviceTensor in(backend, input, batch, x), difference(backend, operation.output(), batch, dy);
    DeviceTensor y(backend, operation.output(), batch), dx(backend, input, batch);
    backend.run([&] {
      operation.forward(static_cast<Slot>(slot), in.data(), y.data());
      if (in_place) backend.kernels->copy(difference.data(), batch * input.bytes(), dx.data());
      operation.backward(static_cast<Slot>(slot), in.data(), y.data(), in_place ? dx.data() : difference.data(),
                         dx.data());
    });
    const std::string at = fmt::format("{}, batch {}", what, batch);
    compare(y, forward(batch, wide(x)), at + ": y");
    // Where a rounded output is near its limit, what is left to it, which the gradient is made of, is off by a rounding
    // of it.
    compare(dx.plain(), backward(batch, wide(x), wide(dy)), at + ": dx", dx.tolerance(),
            input.type == ElementType::float32 ? 0.1 : 1.0);
  }
}

}  // namespace

void check_linear(Backend& backend, const Shape& input, const LinearSpec& spec,
                  std::optional<ActivationSpec> activation, std::int64_t batch) {
  const std::int64_t in = input.elements(), out = spec.out_features;
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    for (const auto& [input_type, output_type] : ends_of(backend)) {
      const TensorDesc end = tensor.as(input_type), flat = end.flattened();
      const auto operation = backend.kernels->linear({.input = flat,
                                                      .out_features = out,
                                                      .bias = spec.bias,
                                                      .activation = activation,
                                                      .full_batch = batch,
                                                      .input_gradient = true,
                                                      .types = {backend.type, output_type}});
      check_affine(backend, *operation, end, in * out, spec.bias ? out : 0, batch, tolerance_of(ElementType::float32),
                   fmt::format("linear {} of {}", out, name_of(end)),
                   [&](std::int64_t samples, const Values& x, const Values& w, const Values& b, const Values& dy) {
                     const reference::LinearShape shape{samples, in, out};
                     return AffineExpectation{activated(activation, reference::linear(shape, x, w, b)),
                                              reference::linear_backward(shape, x, w, dy)};
                   });
    }
  }
}

void check_convolution(Backend& backend, const Shape& input, const Conv2dSpec& spec,
                       std::optional<ActivationSpec> activation, std::int64_t batch) {
  const std::int64_t weights = spec.out_channels * input[0] / spec.groups * spec.kernel_height * spec.kernel_width;
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    for (const auto& [input_type, output_type] : ends_of(backend)) {
      if (output_type != backend.type) continue;
      const TensorDesc end = tensor.as(input_type);
      const auto operation = backend.kernels->convolution({.input = end,
                                                           .spec = spec,
                                                           .activation = activation,
                                                           .full_batch = batch,
                                                           .input_gradient = true,
                                                           .types = {backend.type, output_type}});
      check_affine(backend, *operation, end, weights, spec.bias ? spec.out_channels : 0, batch,
                   tolerance_of(backend.rounds_kernels ? backend.type : ElementType::float32),
                   fmt::format("convolution {} of {} by {}x{}, stride {}, {} groups", spec.out_channels, name_of(end),
                               spec.kernel_height, spec.kernel_width, spec.stride_height, spec.groups),
                   [&](std::int64_t samples, const Values& x, const Values& w, const Values& b, const Values& dy) {
                     const reference::ImageShape shape = image_of(input, samples);
                     return AffineExpectation{activated(activation, reference::convolution(shape, spec, x, w, b)),
                                              reference::convolution_backward(shape, spec, x, w, dy)};
                   });
    }
  }
}

void check_pool(Backend& backend, const Shape& input, const Pool2dSpec& spec, std::int64_t batch) {
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    const auto operation = backend.kernels->pool(tensor, spec, batch);
    check_unary(
        backend, *operation, tensor, batch, false, "pool of " + name_of(tensor),
        [&](std::int64_t n, const Values& x) { return reference::pool(image_of(input, n), spec, x); },
        [&](std::int64_t n, const Values& x, const Values& dy) {
          return reference::pool_backward(image_of(input, n), spec, x, dy);
        });
  }
}

void check_activation(Backend& backend, const Shape& input, const ActivationSpec& spec, std::int64_t batch) {
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    for (const bool in_place : {false, true}) {
      const auto operation = backend.kernels->activation(tensor, spec);
      check_unary(
          backend, *operation, tensor, batch, in_place,
          fmt::format("activation {} of {}", static_cast<int>(spec.kind), name_of(tensor)),
          [&](std::int64_t, const Values& x) { return reference::activation(spec, x); },
          [&](std::int64_t, const Values& x, const Values& dy) { return reference::activation_backward(spec, x, dy); });
    }
  }
}

void check_softmax(Backend& backend, const Shape& input, std::int64_t batch) {
  const std::int64_t inner = input.elements() / input[0];
  const auto operation = backend.kernels->softmax(TensorDesc(input));
  check_unary(
      backend, *operation, TensorDesc(input), batch, false, "softmax of " + input.text(),
      [&](std::int64_t, const Values& x) { return reference::softmax(input[0], inner, x); },
      [&](std::int64_t, const Values& x, const Values& dy) {
        return reference::softmax_backward(input[0], inner, x, dy);
      });
}

void check_reorder(Backend& backend, const Shape& input, std::int64_t batch) {
  constexpr ElementType kFloats = ElementType::float32;
  // To floats in front of a layer that wants them, from floats in front of a sum, or as it was.
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    for (const auto& [from, to] :
         {std::pair(backend.type, kFloats), std::pair(kFloats, backend.type), std::pair(backend.type, backend.type)}) {
      const TensorDesc in = tensor.as(from), out = TensorDesc(input).as(to);
      if (in == out) continue;
      const auto operation = backend.kernels->reorder_to_plain(in, to);
      CHECK(operation->output() == out);
      check_unary(
          backend, *operation, in, batch, false, "reorder of " + name_of(in),
          [](std::int64_t, const Values& x) { return x; },
          [](std::int64_t, const Values&, const Values& dy) { return dy; });
    }
  }
}

}  // namespace dptrain::testing

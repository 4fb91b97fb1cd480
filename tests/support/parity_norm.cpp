// Normalisations, and the sums that end residual blocks.
#include "support/gradient_check.h"
#include "support/parity_tensors.h"

namespace dptrain::testing {

using reference::Values;

namespace {

reference::ImageShape image_of(const Shape& shape, std::int64_t batch) {
  return shape.rank() == 3 ? reference::ImageShape{batch, shape[0], shape[1], shape[2]}
                           : reference::ImageShape{batch, shape[0], 1, 1};
}

Values rectified(Values y) {
  for (double& value : y) value = std::max(value, 0.0);
  return y;
}

/// One layout and batch size of a norm.
void check_norm_of(Backend& backend, NormOperation& operation, const NormConfig& config, Slot slot, std::int64_t batch,
                   bool in_place) {
  const TensorDesc& tensor = config.input;
  const std::int64_t channels = tensor.shape[0];
  const bool affine = config.spec.affine, batch_norm = config.spec.kind == NormKind::batch;
  const reference::ImageShape image = image_of(tensor.shape, batch);
  Draws draws(11);
  std::vector<float> x = draws.vector(image.elements()), dy = draws.vector(image.elements());
  for (float& value : x) value = value * 3 + 2;
  x = rounded(x, backend.type);
  dy = rounded(dy, backend.type);
  const std::vector<float> weight = affine ? draws.away_from_zero(channels, 0.5f) : std::vector<float>{},
                           bias = affine ? draws.vector(channels) : std::vector<float>{};
  std::vector<float> mean = draws.vector(channels), variance = draws.away_from_zero(channels, 0.5f);
  for (float& value : variance) value = std::abs(value);

  const Values linear = reference::norm(image, config.spec, wide(x), wide(weight), wide(bias));
  Values through = wide(dy);
  for (std::size_t i = 0; config.relu && i < linear.size(); ++i) {
    if (std::abs(linear[i]) < 1e-3) dy[i] = 0;  // rounding decides on which side of the kink it is
    through[i] = linear[i] > 0 ? double{dy[i]} : 0;
  }
  const auto behind_relu = [&](const Values& y) { return config.relu ? rectified(y) : y; };

  DeviceTensor w = vector_of(backend, channels, weight), b = vector_of(backend, channels, bias),
               m = vector_of(backend, channels, mean), v = vector_of(backend, channels, variance);
  const NormParameters parameters{affine ? w.floats() : nullptr, affine ? b.floats() : nullptr,
                                  batch_norm ? m.floats() : nullptr, batch_norm ? v.floats() : nullptr};
  const DeviceTensor in(backend, tensor, batch, x), difference(backend, tensor, batch, dy);
  DeviceTensor y(backend, tensor, batch), inferred(backend, tensor, batch), dx(backend, tensor, batch),
      dw = vector_of(backend, channels), db = vector_of(backend, channels), dw_alone = vector_of(backend, channels),
      mean_sum = vector_of(backend, channels), variance_sum = vector_of(backend, channels);
  backend.run([&] {
    if (batch_norm) operation.infer(slot, in.data(), parameters, inferred.data());
    operation.forward(slot, in.data(), parameters, y.data());
    operation.backward(slot, in.data(), parameters, difference.data(), nullptr,
                       {affine ? dw_alone.floats() : nullptr, nullptr});
    if (in_place) backend.kernels->copy(difference.data(), batch * tensor.bytes(), dx.data());
    operation.backward(slot, in.data(), parameters, in_place ? dx.data() : difference.data(), dx.data(),
                       {affine ? dw.floats() : nullptr, affine ? db.floats() : nullptr});
    if (batch_norm) operation.statistics(slot, mean_sum.floats(), variance_sum.floats());
  });
  const std::string at =
      fmt::format("norm {} of {} in {} groups, batch {}{}{}", static_cast<int>(config.spec.kind), name_of(tensor),
                  config.spec.groups, batch, config.relu ? ", ReLU" : "", affine ? "" : ", not affine");
  const reference::AffineGradients gradients =
      reference::norm_backward(image, config.spec, wide(x), wide(weight), through);
  compare(y, behind_relu(linear), at + ": y");
  compare(dx, gradients.x, at + ": dx");
  if (affine) {
    compare(dw, gradients.weight, at + ": dw");
    compare(dw_alone, gradients.weight, at + ": dw alone");
    compare(db, gradients.bias, at + ": db");
  }
  if (!batch_norm) return;
  compare(inferred,
          behind_relu(
              reference::norm_with(image, config.spec, wide(mean), wide(variance), wide(x), wide(weight), wide(bias))),
          at + ": evaluated");
  const reference::RunningStatistics sums = reference::running_statistics(image, config.spec, wide(x));
  compare(mean_sum, sums.mean, at + ": mean");
  compare(variance_sum, sums.variance, at + ": variance");
}

}  // namespace

void check_norm(Backend& backend, const Shape& input, const NormSpec& spec, bool relu, std::int64_t batch) {
  std::vector<std::int64_t> batches{batch};
  // One value a channel has no variance.
  if (batch > 1 && (spec.kind != NormKind::batch || input.elements() > input[0])) batches.push_back(1);
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    const NormConfig config{.input = tensor, .spec = spec, .relu = relu};
    for (const bool in_place : {false, true}) {
      const auto operation = backend.kernels->norm(config);
      for (const std::int64_t size : batches) operation->prepare(size);
      for (std::size_t slot = batches.size(); slot-- > 0;)
        check_norm_of(backend, *operation, config, static_cast<Slot>(slot), batches[slot], in_place);
    }
  }
}

void check_add(Backend& backend, const Shape& a, const Shape& b, std::int64_t stride, bool relu, std::int64_t batch) {
  const reference::ImageShape image_a = image_of(a, batch), image_b = image_of(b, batch);
  Draws draws(12);
  const auto draw = [&](std::int64_t count) { return rounded(draws.vector(count), backend.type); };
  const std::vector<float> x = draw(image_a.elements()), other = draw(image_b.elements()),
                           dy = draw(image_a.elements()), base = draw(image_b.elements());
  const Values sum = reference::add(image_a, image_b, stride, wide(x), wide(other));
  const Values through = reference::add_backward(image_a, image_b, stride, wide(dy));
  Values with_base = wide(base);
  for (std::size_t i = 0; i < through.size(); ++i) with_base[i] += through[i];
  const auto where_positive = [&](Values gradient) {
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = other[i] > 0 ? gradient[i] : 0;
    return gradient;
  };
  for (const TensorDesc& tensor_a : tensors_of(backend, a)) {
    for (const TensorDesc& tensor_b : tensors_of(backend, b)) {
      const auto operation = backend.kernels->add({.a = tensor_a, .b = tensor_b, .stride = stride, .relu = relu});
      CHECK(operation->same_places() == (tensor_a == tensor_b && stride == 1));
      operation->prepare(batch);
      const DeviceTensor in(backend, tensor_a, batch, x), second(backend, tensor_b, batch, other),
          difference(backend, tensor_a, batch, dy), gradient(backend, tensor_b, batch, base);
      DeviceTensor y(backend, tensor_a, batch), in_place(backend, tensor_a, batch), alone(backend, tensor_b, batch),
          added(backend, tensor_b, batch), masked(backend, tensor_b, batch), added_masked(backend, tensor_b, batch);
      backend.run([&] {
        operation->forward(0, in.data(), second.data(), y.data());
        backend.kernels->copy(in.data(), batch * tensor_a.bytes(), in_place.data());
        operation->forward(0, in_place.data(), second.data(), in_place.data());
        operation->backward(0, difference.data(), nullptr, nullptr, alone.data());
        operation->backward(0, difference.data(), nullptr, second.data(), masked.data());
        operation->backward(0, difference.data(), gradient.data(), second.data(), added_masked.data());
        backend.kernels->copy(gradient.data(), batch * tensor_b.bytes(), added.data());
        operation->backward(0, difference.data(), added.data(), nullptr, added.data());
      });
      const std::string at = fmt::format("sum of {} and {}, stride {}", name_of(tensor_a), name_of(tensor_b), stride);
      compare(y, relu ? rectified(sum) : sum, at + ": y");
      compare(in_place, relu ? rectified(sum) : sum, at + ": in place");
      compare(alone, through, at + ": gradient");
      compare(added, with_base, at + ": gradient added");
      compare(masked, where_positive(through), at + ": gradient in front of a ReLU");
      compare(added_masked, where_positive(with_base), at + ": gradient added in front of a ReLU");
    }
  }
}

}  // namespace dptrain::testing

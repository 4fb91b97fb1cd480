// The operations that know of samples: dropout by their ids, losses by their labels.
#include <numeric>

#include "core/philox.h"
#include "support/gradient_check.h"
#include "support/parity_tensors.h"

namespace dptrain::testing {

void check_dropout(Backend& backend, const Shape& input, double probability, std::int64_t batch) {
  constexpr std::int64_t kStep = (std::int64_t{1} << 33) + 7;
  const std::int64_t elements = input.elements();
  const auto on_device = [&](const auto& values) {
    const std::size_t bytes = values.size() * sizeof(values[0]);
    Buffer memory = backend.kernels->allocate(bytes);
    backend.kernels->upload(values.data(), bytes, memory.data());
    return memory;
  };
  std::vector<std::int64_t> ids(static_cast<std::size_t>(batch));
  std::iota(ids.begin(), ids.end(), std::int64_t{1} << 34);
  const Buffer ids_there = on_device(ids), step = on_device(std::vector<std::int64_t>{kStep});
  const RandomStream stream(9, RandomPurpose::dropout, 3, static_cast<std::uint64_t>(kStep));
  const auto threshold = static_cast<std::uint32_t>(probability * 0x1p32);
  std::vector<float> expected;
  for (const std::int64_t id : ids) {
    for (std::int64_t e = 0; e < elements; ++e)
      expected.push_back(stream.bits(static_cast<std::uint64_t>(id), static_cast<std::uint64_t>(e)) >= threshold);
  }
  Draws draws(8);
  const std::vector<float> x = rounded(draws.away_from_zero(batch * elements, 0.5f), backend.type);
  for (const TensorDesc& tensor : tensors_of(backend, input)) {
    std::vector<std::int32_t> order = tensor.logical_elements();
    std::replace(order.begin(), order.end(), -1, static_cast<std::int32_t>(elements));
    const Buffer order_there = on_device(order),
                 scratch = backend.kernels->allocate(static_cast<std::size_t>(elements) + 1),
                 mask = on_device(std::vector<std::uint8_t>(static_cast<std::size_t>(batch * tensor.size()) + 1, 99));
    const DeviceTensor in(backend, tensor, batch, x);
    DeviceTensor y(backend, tensor, batch);
    const float scale = static_cast<float>(1 / (1 - probability));
    auto* mask_data = static_cast<std::uint8_t*>(mask.data());
    backend.run([&] {
      backend.kernels->dropout_mask(
          {.seed = 9,
           .layer = 3,
           .step = static_cast<const std::int64_t*>(step.data()),
           .probability = probability,
           .elements = elements,
           .places = tensor.size(),
           .element_of_place = tensor.plain() ? nullptr : static_cast<const std::int32_t*>(order_there.data()),
           .scratch = static_cast<std::uint8_t*>(scratch.data())},
          static_cast<const std::int64_t*>(ids_there.data()), batch, mask_data);
      backend.kernels->dropout_apply(mask_data, batch * tensor.size(), scale, tensor.type, in.data(), y.data());
    });
    std::vector<std::uint8_t> drawn(static_cast<std::size_t>(batch * tensor.size()) + 1);
    backend.read(mask.data(), drawn.size(), drawn.data());
    CHECK(drawn.back() == 99);
    drawn.pop_back();
    const std::vector<float> as_floats(drawn.begin(), drawn.end());
    CHECK(from_layout(tensor, as_floats.data(), batch) == expected);
    CHECK(padding_is_zero(tensor, as_floats.data(), batch));
    const std::vector<std::uint8_t> logical(expected.begin(), expected.end());
    compare(y, reference::dropout(logical, double{scale}, wide(x)), "dropout of " + name_of(tensor));
  }
}

void check_losses(Backend& backend, std::int64_t classes, std::int64_t batch) {
  Draws draws(10);
  std::vector<float> outputs = draws.vector(batch * classes);
  for (float& value : outputs) value *= 20;
  std::vector<std::int32_t> labels;
  for (std::int64_t s = 0; s < batch; ++s)
    labels.push_back(static_cast<std::int32_t>(draws.below(static_cast<std::uint32_t>(classes))));
  const TensorDesc tensor(Shape{classes});
  const DeviceTensor in(backend, tensor, batch, outputs);
  const std::size_t label_bytes = labels.size() * sizeof labels[0];
  const Buffer labels_there = backend.kernels->allocate(label_bytes), sum = backend.kernels->allocate(sizeof(LossSum));
  backend.kernels->upload(labels.data(), label_bytes, labels_there.data());
  const auto* label_data = static_cast<const std::int32_t*>(labels_there.data());
  const auto check = [&](const auto& loss, const reference::Loss& expected, const std::string& what) {
    for (const bool with_gradient : {true, false}) {
      DeviceTensor gradient(backend, tensor, batch);
      backend.run([&] { loss(with_gradient ? gradient.floats() : nullptr, static_cast<LossSum*>(sum.data())); });
      LossSum total;
      backend.read(sum.data(), sizeof total, &total);
      CHECK(total.loss == doctest::Approx(expected.loss).epsilon(1e-5));
      CHECK(total.correct == expected.correct);
      if (with_gradient) compare(gradient, expected.gradient, what);
    }
  };
  const std::string at = fmt::format(" of {} classes, batch {}", classes, batch);
  for (const float smoothing : {0.0f, 0.1f, 0.75f}) {
    check(
        [&](float* gradient, LossSum* total) {
          backend.kernels->cross_entropy(in.floats(), label_data, batch, classes, smoothing, gradient, total);
        },
        reference::cross_entropy(classes, wide(outputs), labels, double{smoothing}),
        fmt::format("cross entropy, smoothing {}{}", smoothing, at));
  }
  check(
      [&](float* gradient, LossSum* total) {
        backend.kernels->mean_squared_error(in.floats(), label_data, batch, classes, gradient, total);
      },
      reference::mean_squared_error(classes, wide(outputs), labels), "squared error" + at);
}

void check_views(Backend& backend, const Shape& image, std::int64_t batch) {
  Draws draws(12);
  const std::int64_t height = image[1], width = image[2], count = batch * image.elements();
  const std::vector<float> x = draws.vector(count);
  // Written as it is said: the image with a border that reflects it, cut out, then turned over.
  const auto pixel = [&](std::int64_t plane, std::int64_t row, std::int64_t column) {
    row = std::abs(row);
    column = std::abs(column);
    if (row > height - 1) row = 2 * (height - 1) - row;
    if (column > width - 1) column = 2 * (width - 1) - column;
    return x[static_cast<std::size_t>((plane * height + row) * width + column)];
  };
  const TensorDesc tensor(image);
  const DeviceTensor in(backend, tensor, batch, x);
  DeviceTensor sum(backend, tensor, batch);
  std::vector<float> expected_sum(x.size());
  bool first = true;
  for (const std::int64_t down : {0, -1, 1}) {
    for (const std::int64_t right : {0, 1, -1}) {
      for (const bool mirrored : {false, true}) {
        const ImageView view{.down = down, .right = right, .mirrored = mirrored, .weight = first ? 0.3f : 0.7f};
        DeviceTensor seen(backend, tensor, batch);
        backend.run([&] {
          backend.kernels->see_view(
              batch * image[0], {.view = view, .height = height, .width = width, .x = in.floats(), .y = seen.floats()});
        });
        std::vector<float> expected;
        for (std::int64_t plane = 0; plane < batch * image[0]; ++plane) {
          for (std::int64_t row = 0; row < height; ++row) {
            for (std::int64_t column = 0; column < width; ++column)
              expected.push_back(pixel(plane, row + down, (mirrored ? width - 1 - column : column) + right));
          }
        }
        CHECK(seen.plain() == expected);
        for (std::size_t i = 0; i < expected.size(); ++i)
          expected_sum[i] = first ? view.weight * expected[i] : expected_sum[i] + view.weight * expected[i];
        backend.kernels->add_view(count,
                                  {.weight = view.weight, .first = first, .x = seen.floats(), .sum = sum.floats()});
        first = false;
      }
    }
  }
  CHECK(sum.plain() == expected_sum);
}

void check_nan_shows(Backend& backend) {
  constexpr std::int64_t kClasses = 5;
  const std::vector<std::int32_t> labels{0, 1, 2};
  const Buffer labels_there = backend.kernels->allocate(sizeof(std::int32_t) * 3),
               sum = backend.kernels->allocate(sizeof(LossSum));
  backend.kernels->upload(labels.data(), sizeof(std::int32_t) * 3, labels_there.data());
  for (std::size_t where = 0; where < 15; ++where) {
    std::vector<float> outputs(15, 0.5f);
    outputs[where] = std::numeric_limits<float>::quiet_NaN();
    const DeviceTensor in(backend, TensorDesc(Shape{kClasses}), 3, outputs);
    const auto* label_data = static_cast<const std::int32_t*>(labels_there.data());
    auto* sum_data = static_cast<LossSum*>(sum.data());
    for (const int loss : {0, 1, 2}) {
      backend.run([&] {
        if (loss < 2)
          backend.kernels->cross_entropy(in.floats(), label_data, 3, kClasses, loss == 0 ? 0.0f : 0.1f, nullptr,
                                         sum_data);
        else
          backend.kernels->mean_squared_error(in.floats(), label_data, 3, kClasses, nullptr, sum_data);
      });
      LossSum total;
      backend.read(sum.data(), sizeof total, &total);
      CHECK(std::isnan(total.loss));
    }
  }
}

}  // namespace dptrain::testing

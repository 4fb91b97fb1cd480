// Once rooms have grown to what they need, gathering allocates nothing, however samples are augmented.
#include <doctest/doctest.h>

#include <numeric>

#include "data/images/transformed_images.h"
#include "support/allocations.h"

namespace dptrain {

TEST_CASE("gathering and augmenting allocate nothing once there is room") {
  constexpr std::int64_t kSamples = 64;
  const Shape shape{3, 24, 20};
  ByteBlock pixels(static_cast<std::size_t>(kSamples * shape.elements())), labels(kSamples);
  for (std::size_t k = 0; k < pixels.size(); ++k) pixels.data()[k] = static_cast<std::uint8_t>(k * 7);
  std::fill_n(labels.data(), kSamples, std::uint8_t{0});
  const Normalisation normalisation{{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}};
  const std::vector<AugmentSpec> list = {
      RandomResizedCropSpec{16, 16, 0.2, 1, 0.75, 1.333}, RandomCropSpec{.padding = 2}, HorizontalFlipSpec{0.5},
      CutoutSpec{4}, ColourJitterSpec{.brightness = 0.2, .contrast = 0.2, .saturation = 0.2, .hue = 0.1}};
  const TransformedImages images(
      std::make_unique<MemoryImages>(std::move(pixels), std::move(labels), kSamples, shape, 1),
      Augmenter(shape, list, normalisation.mean, "test"), normalisation, true);
  std::vector<std::int64_t> ids(kSamples);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> out(static_cast<std::size_t>(kSamples * images.shape().elements()));
  std::vector<std::int32_t> into(kSamples);
  const auto gather = [&](std::uint64_t epoch) {
    images.gather(ids, out.data(), into.data());
    images.gather_augmented(ids, {1, RandomPurpose::augment, 0, epoch}, out.data(), into.data());
  };
  const auto epochs = [&] {
    for (std::uint64_t epoch = 0; epoch < 20; ++epoch) gather(epoch);
    return test::allocations.load();
  };
  const std::int64_t first = epochs();
  CHECK(epochs() == first);
}

}  // namespace dptrain

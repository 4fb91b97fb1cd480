#include "dpbench/random_dataset.h"

#include "core/philox.h"
#include "data/image_dataset.h"

namespace dptrain {

std::unique_ptr<const Dataset> random_dataset(std::int64_t samples, const Shape& shape, std::int64_t classes) {
  const RandomStream stream(1, RandomPurpose::test);
  ByteBlock pixels(static_cast<std::size_t>(samples * shape.elements())), labels(static_cast<std::size_t>(samples));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels.data()[i] = static_cast<std::uint8_t>(stream.bits(0, i) >> 24);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    labels.data()[i] = static_cast<std::uint8_t>(stream.bits(1, i) % static_cast<std::uint32_t>(classes));
  }
  const std::size_t channels = shape.rank() == 3 ? static_cast<std::size_t>(shape[0]) : 1;
  return std::make_unique<ImageDataset>(
      std::move(pixels), std::move(labels), samples, shape, classes,
      Normalisation{std::vector<float>(channels, 0.5f), std::vector<float>(channels, 0.29f)});
}

}  // namespace dptrain

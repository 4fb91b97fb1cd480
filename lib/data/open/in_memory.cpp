#include "data/open/in_memory.h"

#include "core/error.h"
#include "data/image_dataset.h"
#include "data/images/transformed_images.h"
#include "data/open/choices.h"

namespace dptrain {

DatasetPair pair_in_memory(const DatasetSpec& spec, SplitBytes train, SplitBytes test, const Shape& shape,
                           std::int64_t classes, const Normalisation& normalisation) {
  const auto split = [&](SplitBytes& from, const std::optional<std::int64_t>& wanted, const char* key,
                         bool is_training) -> std::unique_ptr<const Dataset> {
    const std::int64_t size = chosen_samples(spec, wanted, key, from.samples);
    Augmenter augmenter(shape, spec.augment, normalisation.mean, fmt::format("images of {}", shape.text()));
    if (augmenter.is_nothing() || (!is_training && augmenter.output() == shape)) {
      return std::make_unique<ImageDataset>(std::move(from.pixels), std::move(from.labels), size, shape, classes,
                                            normalisation);
    }
    auto source = std::make_unique<MemoryImages>(std::move(from.pixels), std::move(from.labels), size, shape, classes);
    return std::make_unique<TransformedImages>(std::move(source), std::move(augmenter), normalisation, is_training);
  };
  DatasetPair pair;
  pair.train = split(train, spec.train_samples, "train_samples", true);
  pair.test = split(test, spec.test_samples, "test_samples", false);
  return pair;
}

}  // namespace dptrain

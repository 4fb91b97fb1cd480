#include "data/open/in_memory.h"

#include "core/error.h"
#include "data/image_dataset.h"
#include "data/images/transformed_images.h"
#include "data/open/choices.h"

namespace dptrain {

DatasetPair pair_in_memory(const DatasetSpec& spec, SplitBytes train, SplitBytes test, const Shape& shape,
                           std::int64_t classes, const Normalisation& normalisation) {
  const auto split = [&](SplitBytes& from, std::int64_t size, bool is_training) -> std::unique_ptr<const Dataset> {
    Augmenter augmenter(shape, spec.augment, normalisation.mean, fmt::format("images of {}", shape.text()));
    if (augmenter.is_nothing() || (!is_training && augmenter.output() == shape)) {
      return std::make_unique<ImageDataset>(std::move(from.pixels), std::move(from.labels), size, shape, classes,
                                            normalisation);
    }
    auto source = std::make_unique<MemoryImages>(std::move(from.pixels), std::move(from.labels), size, shape, classes);
    return std::make_unique<TransformedImages>(std::move(source), std::move(augmenter), normalisation, is_training);
  };
  DatasetPair pair;
  pair.train = split(train, chosen_train_samples(spec, train.samples), true);
  pair.test = split(test, chosen_test_samples(spec, test.samples), false);
  return pair;
}

}  // namespace dptrain

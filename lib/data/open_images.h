// Purpose: opens what holds images in colour: CIFAR's binary files, folders and tars of JPEGs and PNGs; and puts augmentation
//   around samples in memory. Thread safety and errors: as open.h.
#pragma once

#include <memory>

#include "data/image_dataset.h"
#include "data/open.h"

namespace dptrain {

/// A split whose samples lie in memory; augmented where the job says so.
std::unique_ptr<const Dataset> split_in_memory(const DatasetSpec& spec, ByteBlock pixels, ByteBlock labels,
                                               std::int64_t size, const Shape& shape, std::int64_t classes,
                                               const Normalisation& normalisation, bool is_training);
/// The model's shape, of images that are stored as `shape`. Errors (usage): a crop that does not fit.
Shape augmented_shape(const DatasetSpec& spec, const Shape& shape);
/// How many samples to use, of the `available` ones. Errors (usage): out of range.
std::int64_t chosen_samples(const DatasetSpec& spec, const std::optional<std::int64_t>& wanted, const char* key,
                            std::int64_t available);
[[noreturn]] void spec_error(const DatasetSpec& spec, const std::string& message);

/// `format: cifar | image_folder | image_tar` with a path. The counts are those of all samples.
DatasetInfo inspect_images(const DatasetSpec& spec, const DataOptions& options);
/// `known` are the files where they have been listed already, or null.
DatasetPair open_images(const DatasetSpec& spec, const DataOptions& options,
                        std::shared_ptr<const ImageFilesPair> known);

/// Over all training images of a folder or tar that is given by its path, whose files inspect_dataset() has found; takes as long
/// as decoding them does.
Normalisation measure_training_images(const DatasetSpec& spec, const ImageFilesPair& files, const StopRequest* stop);

/// A described CIFAR or tar of images that lies in `folder`.
DatasetPair open_described_images(const DatasetSpec& spec, const DatasetDescriptor& descriptor,
                                  const std::filesystem::path& folder, const DataOptions& options);

}  // namespace dptrain

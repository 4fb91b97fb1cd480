// Purpose: opens images that are files: JPEGs and PNGs, in a folder or in a tar. Thread safety and errors: as open.h.
#pragma once

#include <filesystem>
#include <memory>

#include "data/dataset.h"
#include "data/images/image_files.h"
#include "data/measure.h"
#include "data/open/dataset_info.h"
#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// `format: image_folder | image_tar` with a path. The counts are those of all samples.
DatasetInfo inspect_images(const DatasetSpec& spec, const DataOptions& options);
/// `known` are the files where they have been listed already, or null.
DatasetPair open_images(const DatasetSpec& spec, const DataOptions& options,
                        std::shared_ptr<const ImageFilesPair> known);

/// A tar with a descriptor, which lies in `folder`.
DatasetPair open_described_images(const DatasetSpec& spec, const DatasetDescriptor& descriptor,
                                  const std::filesystem::path& folder, const DataOptions& options);

/// Over all training images of a folder or tar that is given by its path, whose files inspect_dataset() has found;
/// takes as long as decoding them does.
Normalisation measure_training_images(const DatasetSpec& spec, const ImageFilesPair& files, const StopRequest* stop);

}  // namespace dptrain

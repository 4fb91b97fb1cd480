// Purpose: opens CIFAR's binary files, unpacked in a folder or in their archive. Thread safety and errors: as open.h.
#pragma once

#include <filesystem>

#include "data/dataset.h"
#include "data/measure.h"
#include "data/open/dataset_info.h"
#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// `format: cifar` with a path. The counts are those of all samples.
DatasetInfo inspect_cifar_folder(const DatasetSpec& spec);
DatasetPair open_cifar_folder(const DatasetSpec& spec, const DataOptions& options);

/// Of its training images. Errors: every one that open_cifar_folder() has.
Normalisation measure_cifar_folder(const DatasetSpec& spec, const DataOptions& options);

/// One with a descriptor, which lies in `folder`.
DatasetPair open_described_cifar(const DatasetSpec& spec, const DatasetDescriptor& descriptor,
                                 const std::filesystem::path& folder, const DataOptions& options);

}  // namespace dptrain

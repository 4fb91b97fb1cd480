// Purpose: opens CIFAR's binary files, unpacked in a folder or in their archive. Thread safety and errors: as open.h. Used by
//   open_images.cpp alone.
#pragma once

#include "data/open.h"

namespace dptrain {

/// `format: cifar` with a path.
DatasetInfo inspect_cifar(const DatasetSpec& spec);
DatasetPair open_cifar_folder(const DatasetSpec& spec, const DataOptions& options);

DatasetPair open_described_cifar(const DatasetSpec& spec, const DatasetDescriptor& descriptor,
                                 const std::filesystem::path& folder, const DataOptions& options);

}  // namespace dptrain

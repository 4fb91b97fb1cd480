// Purpose: opens datasets in IDX, the format of MNIST. Thread safety and errors: as open.h.
#pragma once

#include <filesystem>

#include "data/dataset.h"
#include "data/open/dataset_info.h"
#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// `format: idx` with a path. The counts are those of all samples.
DatasetInfo inspect_idx_folder(const DatasetSpec& spec, const DataOptions& options);
DatasetPair open_idx_folder(const DatasetSpec& spec, const DataOptions& options);

/// One with a descriptor, which lies in `folder`.
DatasetPair open_described_idx(const DatasetSpec& spec, const DatasetDescriptor& descriptor,
                               const std::filesystem::path& folder, const DataOptions& options);

}  // namespace dptrain

// Purpose: from a DatasetSpec to samples: finds the descriptor and its files (or downloads them), checks and reads
//   them.
// Thread safety: one call at a time per dataset cache folder; downloads of two processes do not harm each other.
#pragma once

#include "data/dataset.h"
#include "data/open/dataset_info.h"
#include "data/options.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Looks at the descriptor, or at the headers of the files of `path`, and reads no samples (of images without `resize`
/// the first one's header; a compressed tar given by path is unpacked once): enough for `check` and for shape errors.
/// Errors: unknown name (usage), files missing or corrupt (data); Stopped. Never downloads.
DatasetInfo inspect_dataset(const DatasetSpec& spec, const DataOptions& options);

/// `known` is what inspect_dataset() has found of the same spec, where the caller has asked it.
/// Errors: unknown name (usage); missing or corrupt files (data), with every place tried and the ways out; Stopped.
DatasetPair open_dataset(const DatasetSpec& spec, const DataOptions& options, const DatasetInfo& known = {});

}  // namespace dptrain

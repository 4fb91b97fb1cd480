// Purpose: from a DatasetSpec to samples: finds the descriptor and its files (or downloads them), checks and reads them.
// Thread safety: one call at a time per dataset cache folder; downloads of two processes do not harm each other.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/dataset.h"
#include "spec/descriptor.h"
#include "spec/job_spec.h"

namespace dptrain {

struct DataOptions {
  bool offline = false;  ///< refuse to download
  std::function<void(const std::string&)>
      progress;                       ///< one line of news (download progress, where found); may be empty
  long network_timeout_seconds = 30;  ///< give a mirror up that does not connect or send for so long
};

/// What is known of a dataset before its samples are read: enough for `check` and for shape errors.
struct DatasetInfo {
  std::string name;
  Shape shape;
  std::int64_t classes = 0, train_samples = 0, test_samples = 0;
};

/// Folders with descriptors, in order: $DPTRAIN_DATASETS, the source tree's datasets/, the installed share/dptrain/datasets.
std::vector<std::filesystem::path> descriptor_folders();
/// All descriptors, by name. Errors: a bad descriptor (usage).
std::vector<DatasetDescriptor> list_descriptors();
/// What find_descriptor throws for a name that no folder has; the message lists the valid ones and the nearest.
class UnknownDataset : public Error {
 public:
  explicit UnknownDataset(const std::string& message) : Error(ExitStatus::usage, message) {}
};
/// Errors: UnknownDataset; a bad descriptor (usage).
DatasetDescriptor find_descriptor(const std::string& name);

/// Looks at the descriptor, or at the headers of the files of `path`, and reads no samples.
/// Errors: unknown name (usage), files missing or corrupt (data). Never downloads.
DatasetInfo inspect_dataset(const DatasetSpec& spec);

/// Errors: unknown name (usage); missing or corrupt files (data), with every place tried and the ways out.
DatasetPair open_dataset(const DatasetSpec& spec, const DataOptions& options);

/// `dptrain data fetch`: downloads what is missing into the cache and checks it; returns the folder.
std::filesystem::path fetch_dataset(const DatasetDescriptor& descriptor, const DataOptions& options);

}  // namespace dptrain

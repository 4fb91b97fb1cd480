// Purpose: from a DatasetSpec to samples: finds the descriptor and its files (or downloads them), checks and reads them.
// Thread safety: one call at a time per dataset cache folder; downloads of two processes do not harm each other.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "core/stop.h"
#include "data/dataset.h"
#include "spec/descriptor.h"
#include "spec/job_spec.h"

namespace dptrain {

struct ImageFilesPair;

struct DataOptions {
  bool offline = false;  ///< refuse to download
  /// One line of news (download progress, where found); may be empty.
  std::function<void(const std::string&)> progress = {};
  long network_timeout_seconds = 30;  ///< give a mirror up that does not connect or send for so long
  const StopRequest* stop = nullptr;  ///< polled by all that takes long; it then throws Stopped
  /// Of samples and members that are left out, from any thread and also after open_dataset(); may be empty.
  std::function<void(const std::string&)> warning = {};
  std::int64_t cache_bytes = DataSpec{}.cache_bytes;
  std::int64_t unpack_bytes = DataSpec{}.unpack_bytes;
};

/// What is known of a dataset before its samples are read: enough for `check` and for shape errors.
struct DatasetInfo {
  std::string name;
  Shape shape;
  std::int64_t classes = 0, train_samples = 0, test_samples = 0;
  /// Of a folder or a tar of images that is given by its path: what is in it, so that it is not listed again. Null otherwise.
  std::shared_ptr<const ImageFilesPair> files = nullptr;
};

/// Looks at the descriptor, or at the headers of the files of `path`, and reads no samples (of images without `resize` the first
/// one's header; a compressed tar given by path is unpacked once). The shape is the model's: what augmentation puts out.
/// Errors: unknown name (usage), files missing or corrupt (data); Stopped. Never downloads.
DatasetInfo inspect_dataset(const DatasetSpec& spec, const DataOptions& options);

/// `known` is what inspect_dataset() has found of the same spec, where the caller has asked it.
/// Errors: unknown name (usage); missing or corrupt files (data), with every place tried and the ways out; Stopped.
DatasetPair open_dataset(const DatasetSpec& spec, const DataOptions& options, const DatasetInfo& known = {});

/// `dptrain data fetch`: returns the folder that open_dataset() would read, every file of which has its hash. Where
/// there is none, or it is the cache's and does not match, what is wrong is downloaded into the cache.
/// Errors: generated (usage); no mirror serves, or a folder of the user's own does not match its hashes (data); Stopped.
std::filesystem::path fetch_dataset(const DatasetDescriptor& descriptor, const DataOptions& options);

}  // namespace dptrain

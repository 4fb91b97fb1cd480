// Purpose: downloads the files of a named dataset into the cache folder and publishes each only when its hash is right.
// Thread safety: any number of processes; a lock file in the folder lets one work while the others wait.
#pragma once

#include <filesystem>

#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// Downloads what `folder` lacks. Files already there are trusted unless `verify_present`, which hashes them and
/// fetches again what does not match. Errors: offline, or no mirror serves (data); the message has each mirror's
/// reason. Stopped.
void download_dataset(const DatasetDescriptor& descriptor, const std::filesystem::path& folder,
                      const DataOptions& options, bool verify_present);

/// `dptrain data fetch`: returns the folder that open_dataset() would read, every file of which has its hash; an
/// archive whose files lie there unpacked has none to be held against, which is said. Where there is no such folder, or
/// it is the cache's and does not match, what is wrong is downloaded into the cache.
/// Errors: generated (usage); no mirror serves, or a folder of the user's own does not match its hashes (data);
/// Stopped.
std::filesystem::path fetch_dataset(const DatasetDescriptor& descriptor, const DataOptions& options);

}  // namespace dptrain

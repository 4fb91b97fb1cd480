// Purpose: a lock on a folder in the cache, so that one process writes there while others wait; freed by the kernel
//   when the process ends, however it ends. Thread safety: one a process and folder at a time.
#pragma once

#include <filesystem>

#include "data/options.h"

namespace dptrain {

class FolderLock {
 public:
  /// Waits, and says so. Errors (data): the lock file cannot be written; Stopped.
  FolderLock(const std::filesystem::path& folder, const DataOptions& options);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

}  // namespace dptrain

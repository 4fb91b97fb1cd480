// Purpose: files and folders that are there whole or not at all, on the disk and not only in memory.
// Thread safety: any thread; one writer a path at a time. Errors of everything here: Error with the `status` given, and
//   the path with the system's reason.
#pragma once

#include <filesystem>
#include <string_view>

#include "core/error.h"

namespace dptrain {

/// Writes all of `bytes`; `path` is for the message.
void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& path,
               ExitStatus status = ExitStatus::failed);

/// Forces a file's bytes, or a folder's entries, to the disk.
void sync_to_disk(const std::filesystem::path& path, ExitStatus status = ExitStatus::failed);

/// Puts `temporary`, synced already, in the place of `target` in the same folder, and forces that to the disk.
void publish(const std::filesystem::path& temporary, const std::filesystem::path& target,
             ExitStatus status = ExitStatus::failed);

/// A file that is written beside `target` and takes its place with publish(); without that nothing is left of it, and
/// an older `target` stays as it was.
class StagedFile {
 public:
  explicit StagedFile(std::filesystem::path target, ExitStatus status = ExitStatus::failed);
  ~StagedFile();
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  void write(std::string_view bytes);
  void publish();

 private:
  std::filesystem::path target_, staged_;
  ExitStatus status_;
  int descriptor_ = -1;
};

/// A StagedFile of `text`, published.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace dptrain

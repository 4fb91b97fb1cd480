// Purpose: a folder of files whose manifest.json names the length and hash of each, so that any byte that changes later
//   is found out. Thread safety: one writer a folder; readers any.
// Invariants: the hash is of what was handed to the system, taken while it was written; a sealed folder's files are on
//   the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <ostream>
#include <string>

namespace dptrain {

/// What the manifest says of a file.
struct CheckedFile {
  std::uint64_t bytes = 0;
  std::string hash;  ///< XXH3-128
};

/// Errors of everything here: failed, naming the file and what is wrong.
class FolderWriter {
 public:
  /// Makes the folder anew: what was there goes.
  explicit FolderWriter(std::filesystem::path folder);
  /// One file; an error of the stream ends it by the exception.
  void write(const std::string& name, const std::function<void(std::ostream&)>& fill);
  /// A file of another such folder once more, without copying it. Errors also where the file system has no hard links.
  void link(const std::filesystem::path& from, const std::string& name, const CheckedFile& file);
  /// The manifest; afterwards everything is on the disk.
  void seal();

 private:
  std::filesystem::path folder_;
  std::map<std::string, CheckedFile> files_;
};

class FolderReader {
 public:
  /// Reads the manifest; the folder holds what it names and nothing else, but for names that begin with a dot.
  explicit FolderReader(std::filesystem::path folder);
  bool contains(const std::string& name) const { return files_.contains(name); }
  /// By name, without the manifest itself.
  const std::map<std::string, CheckedFile>& files() const { return files_; }
  /// The bytes of a file, checked.
  std::string read(const std::string& name) const;

 private:
  std::filesystem::path folder_;
  std::map<std::string, CheckedFile> files_;
};

}  // namespace dptrain

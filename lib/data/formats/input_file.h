// Purpose: an open regular file, read in order or at random, and whether there is one. Thread safety: one user at a
//   time, but read_at() from any number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "core/error.h"

namespace dptrain {

/// Whether something is there, be it what cannot be looked at: who opens it is told why.
bool is_there(const std::filesystem::path& path);

/// Errors (data): no such folder, no folder, or one that cannot be looked at; the message says that it should hold
/// `what`.
void require_folder(const std::filesystem::path& folder, const std::string& what);

/// The machine could not read a file now (too many are open, a disk or a server fails): nothing that is wrong with the
/// file.
class ReadFailed final : public Error {
 public:
  explicit ReadFailed(const std::string& message) : Error(ExitStatus::data, message) {}
};

class InputFile {
 public:
  /// `name` is what messages call it; empty: its path. Errors (data): missing, unreadable, a folder, not a regular
  /// file; ReadFailed.
  explicit InputFile(const std::filesystem::path& path, std::string name = {});
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::int64_t size() const { return size_; }
  /// Fewer than `count` only at the end of the file. Errors: ReadFailed.
  std::size_t read(std::uint8_t* out, std::size_t count);
  /// The same from `offset`, wherever read() is.
  std::size_t read_at(std::int64_t offset, std::uint8_t* out, std::size_t count) const;
  /// Whether its first two bytes are gzip's.
  bool starts_as_gzip() const;

 private:
  [[noreturn]] void fail_reading() const;

  std::string name_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace dptrain

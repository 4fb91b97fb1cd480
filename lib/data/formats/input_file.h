// Purpose: an open regular file, read in order or at random. Thread safety: one user at a time, but read_at() from any
//   number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>

namespace dptrain {

class InputFile {
 public:
  /// Errors (data): missing, unreadable, a folder, not a regular file.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::int64_t size() const { return size_; }
  /// Fewer than `count` only at the end of the file. Errors: data.
  std::size_t read(std::uint8_t* out, std::size_t count);
  /// The same from `offset`, wherever read() is.
  std::size_t read_at(std::int64_t offset, std::uint8_t* out, std::size_t count) const;
  /// Whether its first two bytes are gzip's.
  bool starts_as_gzip() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::int64_t size_ = 0;
};

}  // namespace dptrain

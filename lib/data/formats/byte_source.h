// Purpose: the bytes of a file in order, plain or gzipped, the same to the reader; every format reads through this.
// Thread safety: one user at a time; different sources are independent.
// Invariants: never holds more than a small window of a gzipped file, so no file can make it grow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/stop.h"

namespace dptrain {

class ByteSource {
 public:
  virtual ~ByteSource() = default;

  /// Reads `count` bytes, fewer only where the data end. Errors: reading fails, gzip corruption (data); Stopped.
  std::size_t read(std::uint8_t* out, std::size_t count);
  /// Whether all bytes are read; in a gzipped file this checks its last checksum. Errors: as read().
  bool at_end();

  /// Uncompressed bytes read so far.
  std::int64_t offset() const { return offset_; }
  /// No more than this many uncompressed bytes can be in the file: its size, or the most that deflate can hide in it.
  virtual std::int64_t capacity() const = 0;
  virtual bool compressed() const = 0;
  const std::filesystem::path& path() const { return path_; }

  /// Throws Error(data): "PATH: byte OFFSET: MESSAGE", with "(uncompressed)" after the offset of a gzipped file.
  [[noreturn]] void corrupt(std::int64_t offset, const std::string& message) const;

 protected:
  ByteSource(std::filesystem::path path, const StopRequest* stop) : path_(std::move(path)), stop_(stop) {}
  virtual std::size_t read_some(std::uint8_t* out, std::size_t count) = 0;

 private:
  std::filesystem::path path_;
  const StopRequest* stop_;
  std::int64_t offset_ = 0;
  bool peeked_ = false;
  std::uint8_t peek_ = 0;
};

/// Opens a file; one whose name ends in .gz is inflated as it is read. Reading polls `stop`.
/// Errors (data): missing, unreadable, a folder, not a regular file; named .gz but not gzip, or the other way round.
std::unique_ptr<ByteSource> open_bytes(const std::filesystem::path& path, const StopRequest* stop = nullptr);

}  // namespace dptrain

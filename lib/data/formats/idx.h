// Purpose: reads IDX files, the format of MNIST: two zero bytes, a type byte, the number of dimensions, one big-endian
//   32-bit extent a dimension, then the values in row-major order. Only unsigned bytes are read.
// Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/stop.h"
#include "data/byte_block.h"

namespace dptrain {

struct IdxHeader {
  std::vector<std::int64_t> extents;  ///< each at least 1
  std::int64_t header_bytes = 0;
  std::int64_t body_bytes = 0;  ///< product of the extents; one byte a value
  std::int64_t file_bytes() const { return header_bytes + body_bytes; }
};

struct IdxArray {
  IdxHeader header;
  ByteBlock values;
};

/// Reads and checks the header; `rank` is the number of dimensions it must have (1: labels, 3: images).
/// Errors (data), with file and offset: magic, type, rank, a zero extent, a product that overflows, or more bytes than
/// the file can hold.
IdxHeader read_idx_header(const std::filesystem::path& path, std::int64_t rank);

/// Reads the whole file. Errors: as above, and a truncated body or bytes after it; Stopped.
IdxArray read_idx(const std::filesystem::path& path, std::int64_t rank, const StopRequest* stop = nullptr);

/// Where a complaint points: "FILE: byte 4", of a compressed file "FILE: byte 4 (uncompressed)".
std::string at_byte(const std::filesystem::path& path, std::int64_t offset);

/// Throws Error(data) naming the offset of the first label that is not below `classes`.
void check_labels(const std::filesystem::path& path, const IdxArray& labels, std::int64_t classes);

}  // namespace dptrain

// Purpose: SHA-256 as a streaming hash, for dataset files, whose published hashes are SHA-256. libcrypto's
//   (sha256_openssl.cpp), or where a build has none our own (sha256_own.cpp).
// Thread safety: one user at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/stop.h"

namespace dptrain {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void update(const void* bytes, std::size_t count);
  /// 64 hexadecimal digits; ends the hash.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct FileDigest {
  std::int64_t bytes = 0;
  std::string sha256;  ///< of those
};

/// Of a plain or .gz file's uncompressed bytes: to their end, but no further than one byte past `most`.
/// Errors: as open_bytes and ByteSource::read.
FileDigest digest_file(const std::filesystem::path& path, std::int64_t most, const StopRequest* stop = nullptr);

/// The same of the file's own bytes, whatever its name. Errors: as InputFile.
FileDigest digest_as_it_is(const std::filesystem::path& path, std::int64_t most, const StopRequest* stop = nullptr);

}  // namespace dptrain

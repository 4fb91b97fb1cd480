#include "data/files/verify.h"

#include "core/error.h"
#include "data/files/sha256.h"

namespace dptrain {

std::string mismatch(const std::filesystem::path& path, const DescribedFile& file, const StopRequest* stop) {
  FileDigest digest;
  try {
    digest = file.is_archive() ? digest_as_it_is(path, file.bytes, stop) : digest_file(path, file.bytes, stop);
  } catch (const Error& error) {
    return error.what();
  }
  if (digest.bytes != file.bytes) {
    return fmt::format("expected {} bytes, found {}", file.bytes,
                       digest.bytes > file.bytes ? "more" : std::to_string(digest.bytes));
  }
  if (digest.sha256 != file.sha256) return fmt::format("expected SHA-256 {}, found {}", file.sha256, digest.sha256);
  return "";
}

}  // namespace dptrain

#include "data/files/archive.h"

#include <sys/stat.h>

#include "core/error.h"
#include "core/hash.h"
#include "data/files/folder_lock.h"
#include "data/files/locate.h"
#include "data/files/verify.h"
#include "data/formats/tar.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// Another file at the same path, or the same at another, gets another name.
std::string name_in_cache(const fs::path& archive) {
  std::error_code error;
  const fs::path canonical = fs::canonical(archive, error);
  struct stat status = {};
  if (error || ::stat(archive.c_str(), &status) != 0)
    fail(ExitStatus::data, "{}: cannot be looked at", archive.string());
  const std::string key =
      fmt::format("{}|{}|{}.{}", canonical.string(), status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  Hash128 hash;
  hash.update(key.data(), key.size());
  constexpr std::size_t kLongest = 100;  // file systems allow 255 bytes
  const std::string name = archive.filename().string(), stem = name.substr(0, name.find(".tar"));
  return fmt::format("{}-{}.tar", stem.substr(0, kLongest), hash.hex().substr(0, 16));
}

}  // namespace

fs::path plain_tar(const fs::path& archive, const std::string& cache, const DescribedFile* described,
                   const DataOptions& options) {
  if (is_plain_tar(archive)) return archive;
  const fs::path folder = cache_folder(cache);
  const fs::path target = folder / name_in_cache(archive);
  std::error_code error;
  if (fs::exists(target, error)) return target;
  fs::create_directories(folder, error);
  if (error) {
    fail(ExitStatus::data, "{}: cannot be created: {}; or unpack {} yourself and give the plain tar", folder.string(),
         error.message(), archive.string());
  }
  const FolderLock lock(folder, options);
  if (fs::exists(target, error)) return target;
  if (described != nullptr) {
    if (const std::string problem = mismatch(archive, *described, options.stop); !problem.empty())
      fail(ExitStatus::data, "{}: {}", archive.string(), problem);
  }
  tell(options, fmt::format("unpacking {} to {}, once", archive.string(), target.string()));
  decompress(archive, target, options);
  return target;
}

}  // namespace dptrain

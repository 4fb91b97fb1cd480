#include "data/fetch.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/formats/byte_source.h"
#include "data/http.h"
#include "data/locate.h"
#include "data/sha256.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

void tell(const DataOptions& options, const std::string& line) {
  if (options.progress) options.progress(line);
}

/// The folder's lock; freed by the kernel when the process ends, however it ends.
class FolderLock {
 public:
  FolderLock(const fs::path& folder, const DataOptions& options) {
    const fs::path file = folder / ".lock";
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail(ExitStatus::data, "{}: cannot be written: {}", file.string(), std::strerror(errno));
    for (bool told = false; ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0; told = true) {
      if (errno != EWOULDBLOCK && errno != EINTR) {
        const int error = errno;
        ::close(descriptor_);
        fail(ExitStatus::data, "{}: cannot be locked: {}", file.string(), std::strerror(error));
      }
      if (!told) tell(options, fmt::format("waiting for another process that downloads into {}", folder.string()));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// A file that is written beside its final place and renamed into it, or removed.
class StagedFile {
 public:
  explicit StagedFile(fs::path target) : target_(std::move(target)), staged_(target_.string() + ".new") {
    descriptor_ = ::open(staged_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    check(descriptor_ >= 0);
  }
  ~StagedFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
    ::unlink(staged_.c_str());  // gone already where it was published
  }
  StagedFile(const StagedFile&) = delete;
  StagedFile& operator=(const StagedFile&) = delete;

  void write(const std::uint8_t* bytes, std::size_t count) {
    while (count > 0) {
      const ssize_t done = ::write(descriptor_, bytes, count);
      if (done < 0 && errno == EINTR) continue;
      check(done > 0);
      bytes += done;
      count -= static_cast<std::size_t>(done);
    }
  }
  void publish() {
    check(::fsync(descriptor_) == 0);
    check(::close(std::exchange(descriptor_, -1)) == 0);
    check(::rename(staged_.c_str(), target_.c_str()) == 0);
  }

 private:
  void check(bool fine) const {
    if (!fine) fail(ExitStatus::data, "{}: cannot be written: {}", staged_.string(), std::strerror(errno));
  }

  fs::path target_, staged_;
  int descriptor_ = -1;
};

/// Checks a download, then inflates it into its final place. Returns what is wrong with it, empty where it was
/// published.
std::string unpack(const fs::path& download, const DescribedFile& file, const fs::path& target) {
  FileDigest digest;
  try {
    digest = digest_file(download, file.bytes);
  } catch (const Error& error) {
    return error.what();
  }
  if (digest.bytes != file.bytes) {
    return fmt::format("expected {} bytes, found {}", file.bytes,
                       digest.bytes > file.bytes ? "more" : std::to_string(digest.bytes));
  }
  if (digest.sha256 != file.sha256) return fmt::format("expected SHA-256 {}, found {}", file.sha256, digest.sha256);

  const auto source = open_bytes(download);
  StagedFile staged(target);
  std::vector<std::uint8_t> window(1 << 18);
  while (const std::size_t got = source->read(window.data(), window.size())) staged.write(window.data(), got);
  staged.publish();
  return "";
}

bool matches(const fs::path& path, const DescribedFile& file) {
  try {
    const FileDigest digest = digest_file(path, file.bytes);
    return digest.bytes == file.bytes && digest.sha256 == file.sha256;
  } catch (const Error&) {
    return false;
  }
}

/// Asks one mirror; returns why it did not serve, empty where the file is in place.
std::string fetch_from(const std::string& mirror, const DescribedFile& file, const fs::path& folder,
                       const DataOptions& options) {
  const fs::path part = folder / (file.name + ".part.gz");
  HttpRequest request;
  request.url = mirror + (mirror.ends_with('/') ? "" : "/") + file.name + ".gz";
  request.file = part;
  request.most_bytes = file.bytes + file.bytes / 100 + 4096;  // deflate at its worst, and a gzip header
  request.timeout_seconds = options.network_timeout_seconds;
  request.progress = [&](std::int64_t have, std::int64_t total) {
    tell(options, total > 0 ? fmt::format("{}: {:.1f} of {:.1f} MB", file.name, have / 1e6, total / 1e6)
                            : fmt::format("{}: {:.1f} MB", file.name, have / 1e6));
  };
  tell(options, fmt::format("downloading {}", request.url));
  for (;;) {
    const HttpResult result = http_get(request);
    if (!result.error.empty()) return fmt::format("{}: {}", request.url, result.error);
    const std::string problem = unpack(part, file, folder / file.name);
    fs::remove(part);
    if (problem.empty()) return "";
    // What an earlier try left may have been the bad part: once more from the start.
    if (!result.resumed) return fmt::format("{}: {}", request.url, problem);
  }
}

}  // namespace

void download_dataset(const DatasetDescriptor& descriptor, const fs::path& folder, const DataOptions& options,
                      bool verify_present) {
  const auto missing = [&](const DescribedFile& file) {
    const auto path = find_plain_or_gz(folder, file.name);
    if (!path) return true;
    if (!verify_present || matches(*path, file)) return false;
    tell(options, fmt::format("{}: does not match its hash; fetching it again", path->string()));
    return true;
  };
  std::vector<DescribedFile> wanted;
  const auto look = [&] {
    wanted.clear();
    for (const DescribedFile& file : descriptor.files) {
      if (missing(described_file(descriptor, file.role))) wanted.push_back(file);
    }
  };
  look();
  if (wanted.empty()) return;
  if (options.offline)
    fail(ExitStatus::data, "{}: not on this machine, and --offline forbids to download it", descriptor.name);
  if (descriptor.mirrors.empty()) fail(ExitStatus::data, "{}: names no mirrors", descriptor.source.string());

  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ExitStatus::data, "{}: cannot be created: {}", folder.string(), error.message());
  const FolderLock lock(folder, options);
  look();  // another process may have fetched them while this one waited
  for (const DescribedFile& file : wanted) {
    std::vector<std::string> reasons;
    bool served = false;
    for (const std::string& mirror : descriptor.mirrors) {
      const std::string reason = fetch_from(mirror, file, folder, options);
      served = reason.empty();
      if (served) break;
      tell(options, reason);
      reasons.push_back(reason);
    }
    if (!served)
      fail(ExitStatus::data, "{}: no mirror served {}:\n  {}", descriptor.name, file.name, fmt::join(reasons, "\n  "));
    fs::remove(folder / (file.name + ".gz"), error);  // an older copy whose hash was wrong
    tell(options, fmt::format("{}: in place, hash checked", (folder / file.name).string()));
  }
}

fs::path fetch_dataset(const DatasetDescriptor& descriptor, const DataOptions& options) {
  if (descriptor.format == DatasetFormat::generated) {
    fail(ExitStatus::usage, "{} is generated; there is nothing to fetch", descriptor.name);
  }
  const fs::path folder = cache_folder(descriptor.name);
  download_dataset(descriptor, folder, options, true);
  return folder;
}

}  // namespace dptrain

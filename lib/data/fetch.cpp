#include "data/fetch.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "core/durable_file.h"
#include "core/error.h"
#include "data/formats/byte_source.h"
#include "data/http.h"
#include "data/locate.h"
#include "data/verify.h"

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
      if (stop_asked(options.stop)) {
        ::close(descriptor_);
        throw Stopped();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_ = -1;
};

/// Checks a download, then inflates it into its final place. Returns what is wrong with it, empty where it was
/// published.
std::string unpack(const fs::path& download, const DescribedFile& file, const fs::path& target,
                   const StopRequest* stop) {
  if (std::string problem = mismatch(download, file, stop); !problem.empty()) return problem;
  const auto source = open_bytes(download, stop);
  StagedFile staged(target, ExitStatus::data);
  std::vector<char> window(1 << 18);
  while (const std::size_t got = source->read(reinterpret_cast<std::uint8_t*>(window.data()), window.size())) {
    staged.write({window.data(), got});
  }
  staged.publish();
  return "";
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
  request.stop = options.stop;
  request.progress = [&](std::int64_t have, std::int64_t total) {
    tell(options, total > 0 ? fmt::format("{}: {:.1f} of {:.1f} MB", file.name, have / 1e6, total / 1e6)
                            : fmt::format("{}: {:.1f} MB", file.name, have / 1e6));
  };
  tell(options, fmt::format("downloading {}", request.url));
  for (;;) {
    const HttpResult result = http_get(request);
    if (!result.error.empty()) return fmt::format("{}: {}", request.url, result.error);
    const std::string problem = unpack(part, file, folder / file.name, options.stop);
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
    if (!verify_present || mismatch(*path, file, options.stop).empty()) return false;
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
  std::vector<TriedPlace> tried;
  const std::optional<fs::path> found = find_dataset(descriptor, {}, tried);
  if (found && found != find_cache_folder(descriptor.name)) {
    // The user's own: not for us to write into, and no download would be read before it.
    for (const DescribedFile& file : descriptor.files) {
      const fs::path path = *find_plain_or_gz(*found, file.name);
      const std::string problem = mismatch(path, file, options.stop);
      if (problem.empty()) continue;
      fail(ExitStatus::data, "{}: {}; remove or mend it: training would read it before a download", path.string(),
           problem);
    }
    return *found;
  }
  const fs::path folder = cache_folder(descriptor.name);
  download_dataset(descriptor, folder, options, true);
  return folder;
}

}  // namespace dptrain

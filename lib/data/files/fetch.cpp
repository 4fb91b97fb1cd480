#include "data/files/fetch.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/durable_file.h"
#include "core/error.h"
#include "data/files/folder_lock.h"
#include "data/files/http.h"
#include "data/files/locate.h"
#include "data/files/verify.h"
#include "data/formats/byte_source.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// Checks a download, then puts it into its final place, inflated unless it is an archive. Returns what is wrong with
/// it, empty where it was published.
std::string unpack(const fs::path& download, const DescribedFile& file, const fs::path& target,
                   const StopRequest* stop) {
  if (std::string problem = mismatch(download, file, stop); !problem.empty()) return problem;
  if (file.is_archive()) {
    sync_to_disk(download, ExitStatus::data);
    publish(download, target, ExitStatus::data);
    return "";
  }
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
  const std::string suffix = file.is_archive() ? "" : ".gz";
  const fs::path part = folder / (file.name + ".part" + suffix);
  HttpRequest request;
  request.url = mirror + file.name + suffix;
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
    const auto path = find_file(folder, file);
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
      const std::optional<fs::path> path_found = find_file(*found, file);
      if (!path_found) {  // an archive, whose files lie there
        tell(options, fmt::format("{}: unpacked from {}, and not checked: the hash is the archive's", found->string(),
                                  file.name));
        continue;
      }
      const fs::path& path = *path_found;
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

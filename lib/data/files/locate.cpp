#include "data/files/locate.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>

#include "core/error.h"
#include "data/formats/cifar.h"
#include "data/formats/input_file.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

/// An environment variable that is set and not empty.
std::optional<fs::path> environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

}  // namespace

std::optional<fs::path> find_plain_or_gz(const fs::path& folder, const std::string& name) {
  for (const char* suffix : {"", ".gz"}) {
    if (const fs::path path = folder / (name + suffix); is_there(path)) return path;
  }
  return std::nullopt;
}

std::optional<fs::path> find_file(const fs::path& folder, const DescribedFile& file) {
  if (!file.is_archive()) return find_plain_or_gz(folder, file.name);
  const fs::path path = folder / file.name;
  return is_there(path) ? std::optional(path) : std::nullopt;
}

std::optional<fs::path> find_cache_folder(const std::string& name) {
  std::optional<fs::path> root = environment("XDG_CACHE_HOME");
  if (!root || !root->is_absolute()) {
    root = environment("HOME");
    if (!root) return std::nullopt;
    *root /= ".cache";
  }
  return *root / "dptrain" / "datasets" / name;
}

fs::path cache_folder(const std::string& name) {
  if (const auto folder = find_cache_folder(name)) return *folder;
  fail(ExitStatus::data, "no place for downloaded datasets: neither XDG_CACHE_HOME (an absolute path) nor HOME is set");
}

std::vector<fs::path> dataset_places(const DatasetDescriptor& descriptor, const fs::path& path) {
  std::vector<fs::path> places;
  const std::string& folder = descriptor.folder.empty() ? descriptor.name : descriptor.folder;
  if (!path.empty()) places.push_back(path);
  if (const auto data = environment("DPTRAIN_DATA")) places.push_back(*data / folder);
  places.push_back(fs::path("datasets") / folder);
  if (const auto cache = find_cache_folder(descriptor.name)) places.push_back(*cache);
  return places;
}

const DescribedFile& described_file(const DatasetDescriptor& descriptor, const std::string& role) {
  const DescribedFile* found = nullptr;
  for (const DescribedFile& file : descriptor.files) {
    if (file.role != role) continue;
    if (found != nullptr) fail(ExitStatus::usage, "{}: two files have the role {}", descriptor.source.string(), role);
    found = &file;
  }
  if (found == nullptr) fail(ExitStatus::usage, "{}: no file has the role {}", descriptor.source.string(), role);
  if (found->name.empty() || fs::path(found->name).filename() != found->name || found->name.front() == '.') {
    fail(ExitStatus::usage, "{}: '{}' is not a plain file name", descriptor.source.string(), found->name);
  }
  return *found;
}

std::optional<fs::path> find_dataset(const DatasetDescriptor& descriptor, const fs::path& path,
                                     std::vector<TriedPlace>& tried) {
  for (const fs::path& folder : dataset_places(descriptor, path)) {
    std::vector<std::string> missing;
    for (const DescribedFile& file : descriptor.files) {
      if (!find_file(folder, file)) missing.push_back(file.name);
    }
    if (missing.empty()) return folder;
    if (descriptor.format == DatasetFormat::cifar && find_cifar(folder, descriptor.classes)) return folder;
    std::string why = "no such folder";
    std::error_code ignored;
    if (fs::is_regular_file(folder, ignored)) {
      why = "a file; expected a folder";
    } else if (is_there(folder)) {
      why = missing.size() == descriptor.files.size() ? fmt::format("holds none of the files of {}", descriptor.name)
                                                      : fmt::format("lacks {}", fmt::join(missing, ", "));
    }
    tried.push_back({folder, why});
  }
  return std::nullopt;
}

IdxFiles described_files(const DatasetDescriptor& descriptor, const fs::path& folder) {
  const auto file = [&](const std::string& role) {
    const std::string& name = described_file(descriptor, role).name;
    return find_plain_or_gz(folder, name).value_or(folder / name);
  };
  return {file("train_images"), file("train_labels"), file("test_images"), file("test_labels")};
}

namespace {

/// "train-images" and "idx3-ubyte", with a dash between them or a dot.
std::optional<fs::path> find_idx(const fs::path& folder, const std::string& start, const std::string& end) {
  for (const char* joint : {"-", "."}) {
    if (auto path = find_plain_or_gz(folder, start + joint + end)) return path;
  }
  return std::nullopt;
}

}  // namespace

bool holds_idx(const fs::path& folder) {
  for (const std::string split : {"train", "t10k"})
    if (find_idx(folder, split + "-images", "idx3-ubyte") || find_idx(folder, split + "-labels", "idx1-ubyte"))
      return true;
  return false;
}

IdxFiles standard_files(const fs::path& folder) {
  require_folder(folder, "train-images-idx3-ubyte and its three companions");
  std::vector<std::string> missing;
  const auto file = [&](const std::string& start, const std::string& end) {
    if (auto path = find_idx(folder, start, end)) return *path;
    missing.push_back(start + "-" + end);
    return fs::path();
  };
  const IdxFiles files = {file("train-images", "idx3-ubyte"), file("train-labels", "idx1-ubyte"),
                          file("t10k-images", "idx3-ubyte"), file("t10k-labels", "idx1-ubyte")};
  if (!missing.empty()) {
    fail(ExitStatus::data, "{}: lacks {}; expected each plain or as .gz", folder.string(), fmt::join(missing, ", "));
  }
  return files;
}

}  // namespace dptrain

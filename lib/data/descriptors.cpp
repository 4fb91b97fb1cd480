// Finds dataset descriptors (datasets/NAME.yaml).
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <numeric>

#include "core/error.h"
#include "data/open.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// Descriptor files by name; where two folders have one, the earlier folder's.
std::map<std::string, fs::path> descriptor_files() {
  std::map<std::string, fs::path> files;
  for (const fs::path& folder : descriptor_folders()) {
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
      if (entry->path().extension() == ".yaml") files.emplace(entry->path().stem().string(), entry->path());
    }
    if (error) fail(ExitStatus::usage, "{}: cannot be listed: {}", folder.string(), error.message());
  }
  return files;
}

DatasetDescriptor read_named(const std::string& name, const fs::path& file) {
  DatasetDescriptor descriptor = read_descriptor(file);
  if (descriptor.name != name) {
    fail(ExitStatus::usage, "{}: the name in the file is '{}'; expected '{}', as the file's", file.string(),
         descriptor.name, name);
  }
  return descriptor;
}

/// Levenshtein's distance.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

}  // namespace

std::vector<fs::path> descriptor_folders() {
  std::vector<fs::path> folders;
  if (const char* set = std::getenv("DPTRAIN_DATASETS"); set != nullptr && *set != '\0') {
    if (!is_folder(set))
      fail(ExitStatus::usage, "DPTRAIN_DATASETS: {} is not a folder; expected one with NAME.yaml files", set);
    folders.emplace_back(set);
  }
  // A build tree's binary finds the source tree; an installed one its share folder. Either may not be there.
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  for (const fs::path& folder :
       {fs::path(DPTRAIN_SOURCE_DATASETS), executable.parent_path().parent_path() / "share" / "dptrain" / "datasets"}) {
    if (is_folder(folder)) folders.push_back(folder);
  }
  return folders;
}

std::vector<DatasetDescriptor> list_descriptors() {
  std::vector<DatasetDescriptor> descriptors;
  for (const auto& [name, file] : descriptor_files()) descriptors.push_back(read_named(name, file));
  return descriptors;
}

DatasetDescriptor find_descriptor(const std::string& name) {
  const std::map<std::string, fs::path> files = descriptor_files();
  if (const auto found = files.find(name); found != files.end()) return read_named(name, found->second);

  std::vector<std::string> names;
  for (const auto& entry : files) names.push_back(entry.first);
  if (names.empty()) {
    throw UnknownDataset(
        fmt::format("unknown dataset '{}': there are no descriptors; set DPTRAIN_DATASETS to a folder with "
                    "NAME.yaml files",
                    name));
  }
  const auto nearest =
      std::ranges::min_element(names, {}, [&](const std::string& known) { return distance(name, known); });
  const std::string hint = distance(name, *nearest) <= 2 ? fmt::format("; did you mean '{}'?", *nearest) : "";
  throw UnknownDataset(fmt::format("unknown dataset '{}'{} (known: {})", name, hint, fmt::join(names, ", ")));
}

}  // namespace dptrain

#include "data/descriptors.h"

#include <cstdlib>
#include <map>

#include "spec/binder.h"

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

}  // namespace

std::vector<fs::path> descriptor_folders() {
  std::vector<fs::path> folders;
  if (const char* set = std::getenv("DPTRAIN_DATASETS"); set != nullptr && *set != '\0') {
    if (!is_folder(set))
      fail(ExitStatus::usage, "DPTRAIN_DATASETS: {} is not a folder; expected one with NAME.yaml files", set);
    folders.emplace_back(set);
  }
  // The source tree that a binary was built in may be gone, or be another version by now: an installed one asks its own
  // share folder.
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  const fs::path installed = executable.parent_path().parent_path() / "share" / "dptrain" / "datasets";
  for (const fs::path& folder : {installed, fs::path(DPTRAIN_SOURCE_DATASETS)}) {
    if (!is_folder(folder)) continue;
    folders.push_back(folder);
    break;
  }
  return folders;
}

std::vector<DatasetDescriptor> list_descriptors() {
  std::vector<DatasetDescriptor> descriptors;
  for (const auto& [name, file] : descriptor_files()) descriptors.push_back(read_descriptor(file));
  return descriptors;
}

DatasetDescriptor find_descriptor(const std::string& name) {
  const std::map<std::string, fs::path> files = descriptor_files();
  if (const auto found = files.find(name); found != files.end()) return read_descriptor(found->second);

  if (files.empty()) {
    throw UnknownDataset(
        fmt::format("unknown dataset '{}': there are no descriptors; set DPTRAIN_DATASETS to a folder with "
                    "NAME.yaml files",
                    name));
  }
  Names names;
  for (const auto& entry : files) names.push_back(entry.first);
  throw UnknownDataset(fmt::format("unknown dataset '{}'; {}", name, suggestion(name, names)));
}

}  // namespace dptrain

#include "data/formats/image_folder.h"

#include <algorithm>

#include "core/error.h"
#include "data/formats/input_file.h"

namespace dptrain {
namespace fs = std::filesystem;
namespace {

class FolderImages final : public ImageFiles {
 public:
  FolderImages(fs::path folder, std::shared_ptr<const std::vector<std::string>> names, ClassFolders::Split split)
      : folder_(std::move(folder)), names_(std::move(names)), split_(std::move(split)) {}

  std::int64_t size() const override { return static_cast<std::int64_t>(split_.entries.size()); }
  std::int32_t label(std::int64_t id) const override { return split_.labels[static_cast<std::size_t>(id)]; }
  std::string name(std::int64_t id) const override { return shown((folder_ / relative(id)).string()); }
  void read(std::int64_t id, std::vector<std::uint8_t>& out) const override {
    InputFile file(folder_ / relative(id), name(id));
    if (file.size() > kMostFileBytes)
      fail(ExitStatus::data, "{}: has {} bytes; more than {} are refused", name(id), file.size(), kMostFileBytes);
    out.resize(static_cast<std::size_t>(file.size()));
    out.resize(file.read(out.data(), out.size()));  // it may have become shorter
  }

 private:
  const std::string& relative(std::int64_t id) const { return (*names_)[split_.entries[static_cast<std::size_t>(id)]]; }

  fs::path folder_;
  std::shared_ptr<const std::vector<std::string>> names_;
  ClassFolders::Split split_;
};

/// All files below `at`, as paths from the top; links to folders are followed down to the one of CLASS/, which has
/// `links` folders above it.
void list(const fs::path& at, const std::string& prefix, int depth, int links, std::vector<std::string>& names,
          const StopRequest* stop) {
  constexpr int kDeepest = 32;
  std::error_code error;
  fs::directory_iterator entry(at, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    throw_if_stopped(stop);
    const std::string name = prefix + entry->path().filename().string();
    std::error_code ignored;  // what cannot be looked at is reported when it is read
    if (!entry->is_directory(ignored)) {
      names.push_back(name);
    } else if (depth <= links || !entry->is_symlink(ignored)) {
      if (depth == kDeepest)
        fail(ExitStatus::data, "{}: is more than {} folders deep", entry->path().string(), kDeepest);
      list(entry->path(), name + "/", depth + 1, links, names, stop);
    }
  }
  if (error) fail(ExitStatus::data, "{}: cannot be listed: {}", at.string(), error.message());
}

}  // namespace

ImageFilesPair open_image_folder(const fs::path& folder, const StopRequest* stop) {
  require_folder(folder, "train/CLASS/ and test/CLASS/");
  auto names = std::make_shared<std::vector<std::string>>();
  std::error_code ignored;
  list(folder, "", 0, fs::is_directory(folder / "train", ignored) ? 1 : 2, *names, stop);
  std::sort(names->begin(), names->end());
  ClassFolders found = find_classes(*names, folder.string());
  return {std::make_shared<FolderImages>(folder, names, std::move(found.train)),
          std::make_shared<FolderImages>(folder, names, std::move(found.test)),
          std::move(found.classes),
          found.others,
          {}};
}

}  // namespace dptrain

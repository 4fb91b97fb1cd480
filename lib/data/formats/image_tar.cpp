#include "data/formats/image_tar.h"

#include "core/error.h"

namespace dptrain {
namespace {

class TarImages final : public ImageFiles {
 public:
  TarImages(std::shared_ptr<const TarFile> tar, ClassFolders::Split split)
      : tar_(std::move(tar)), split_(std::move(split)) {}

  std::int64_t size() const override { return static_cast<std::int64_t>(split_.entries.size()); }
  std::int32_t label(std::int64_t id) const override { return split_.labels[static_cast<std::size_t>(id)]; }
  std::string name(std::int64_t id) const override {
    return fmt::format("{}: member '{}'", tar_->path().string(), shown(member(id).name));
  }
  void read(std::int64_t id, std::vector<std::uint8_t>& out) const override {
    const TarMember& of = member(id);
    if (of.bytes > kMostFileBytes)
      fail(ExitStatus::data, "{}: has {} bytes; more than {} are refused", name(id), of.bytes, kMostFileBytes);
    out.resize(static_cast<std::size_t>(of.bytes));
    tar_->read(of, out.data());
  }

 private:
  const TarMember& member(std::int64_t id) const {
    return tar_->members()[split_.entries[static_cast<std::size_t>(id)]];
  }

  std::shared_ptr<const TarFile> tar_;
  ClassFolders::Split split_;
};

}  // namespace

ImageFilesPair open_image_tar(const std::filesystem::path& path, const TarFile::Skip& skip, const StopRequest* stop) {
  const auto tar = std::make_shared<const TarFile>(path, skip, stop);
  std::vector<std::string> names;
  names.reserve(tar->members().size());
  for (const TarMember& member : tar->members()) names.push_back(member.name);
  ClassFolders found = find_classes(names, path.string());
  return {std::make_shared<TarImages>(tar, std::move(found.train)),
          std::make_shared<TarImages>(tar, std::move(found.test)),
          std::move(found.classes),
          found.others,
          {}};
}

}  // namespace dptrain

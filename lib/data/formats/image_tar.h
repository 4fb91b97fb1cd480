// Purpose: the images of a plain tar, by split. Thread safety: as ImageFiles.
#pragma once

#include <memory>

#include "data/formats/tar.h"
#include "data/images/image_files.h"

namespace dptrain {

/// Both splits of a folder or a tar of images.
struct ImageFilesPair {
  std::shared_ptr<const ImageFiles> train, test;
  std::vector<std::string> classes;   ///< sorted; a label is an index
  std::int64_t others = 0;            ///< files that are no samples
  std::vector<std::string> left_out;  ///< a line for each member that is no regular file
};

/// Errors (data): as TarFile and find_classes(); Stopped.
ImageFilesPair open_image_tar(const std::filesystem::path& path, const TarFile::Skip& skip, const StopRequest* stop);

}  // namespace dptrain

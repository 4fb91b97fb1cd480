// Purpose: the images of a plain tar, by split. Thread safety: as ImageFiles.
#pragma once

#include "data/formats/tar.h"
#include "data/images/image_files.h"

namespace dptrain {

/// Errors (data): as TarFile and find_classes(); Stopped.
ImageFilesPair open_image_tar(const std::filesystem::path& path, const TarFile::Skip& skip, const StopRequest* stop);

}  // namespace dptrain

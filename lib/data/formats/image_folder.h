// Purpose: the images of a folder, by split. Thread safety: as ImageFiles; the folder should not change meanwhile.
#pragma once

#include <filesystem>

#include "core/stop.h"
#include "data/images/image_files.h"

namespace dptrain {

/// Links to files are followed, links to folders below CLASS/ are not. Errors (data): no such folder; it cannot be
/// listed; more than 32 folders in each other; as find_classes(). Stopped.
ImageFilesPair open_image_folder(const std::filesystem::path& folder, const StopRequest* stop);

}  // namespace dptrain

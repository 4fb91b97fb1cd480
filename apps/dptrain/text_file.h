// Purpose: a file as text. Thread safety: as the file system's.
#pragma once

#include <filesystem>
#include <string>

namespace dptrain {

/// All of it; empty where there is no such file, or it cannot be read.
std::string read_text(const std::filesystem::path& file);

}  // namespace dptrain

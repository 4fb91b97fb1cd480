// Purpose: holds a dataset's file against its descriptor. Thread safety: pure functions of the file system.
#pragma once

#include <filesystem>
#include <string>

#include "core/stop.h"
#include "spec/descriptor.h"

namespace dptrain {

/// Reads the whole file, plain or .gz (an archive as it is), and returns what is wrong with it: unreadable, the size,
/// the hash; empty where it is as described. Errors: Stopped.
std::string mismatch(const std::filesystem::path& path, const DescribedFile& file, const StopRequest* stop = nullptr);

}  // namespace dptrain

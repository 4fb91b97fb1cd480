// Purpose: the text of a spec file, bounded, and the source that complaints point into.
// Thread safety: pure functions.
#pragma once

#include <filesystem>
#include <string>

#include "spec/diagnostics.h"

namespace dptrain {

/// At most a byte more than a tree may have, so that no file can exhaust memory. Errors: usage, not readable.
std::string read_source_file(const std::filesystem::path& file);

/// Cuts a byte order mark off `text` and makes a source of it.
Source source_of_file(std::string& text, const std::filesystem::path& file);

}  // namespace dptrain

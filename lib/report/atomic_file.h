// Purpose: a file that is there whole or not at all.
// Thread safety: any thread; two writers of one path do not mix, the later one wins.
#pragma once

#include <filesystem>
#include <string_view>

namespace dptrain {

/// Writes `text` to a temporary file beside `path`, forces it to the disk and renames it into place.
/// Errors: Error(failed) with the path and the system's reason; nothing is left behind and an older file stays as it was.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Writes all of `text`; `path` is for the message. Errors: Error(failed), as above.
void write_all(int descriptor, std::string_view text, const std::filesystem::path& path);

}  // namespace dptrain

// Purpose: compressed archives, which cannot be read at random: each is unpacked once, to a plain tar in the cache, and
//   that is read. No member becomes a file: whatever their names are, nothing is written but the one tar.
// Thread safety: any number of processes; a lock file lets one unpack while the others wait.
#pragma once

#include <filesystem>
#include <string>

#include "data/options.h"
#include "spec/descriptor.h"

namespace dptrain {

/// The plain tar of an archive: itself where it is one, otherwise a copy in the cache, made now or by an earlier run
/// from the same file (same path, size and time). `cache` names the folder in the cache. Where `described` is given the
/// archive's hash is checked before it is unpacked.
/// Errors (data): it is neither a tar nor a tar compressed by gzip, bzip2, xz, lzma, zstd or lz4; it is corrupt or
/// truncated, or its hash is another; it unpacks to more than options.unpack_bytes; the cache cannot be written; this
/// build has no libarchive. Stopped.
std::filesystem::path plain_tar(const std::filesystem::path& archive, const std::string& cache,
                                const DescribedFile* described, const DataOptions& options);

/// Decompresses `archive` into `target`, which is there whole or not at all. Errors (data): as above; Stopped. CMake
/// takes archive_libarchive.cpp or archive_none.cpp.
void decompress(const std::filesystem::path& archive, const std::filesystem::path& target, const DataOptions& options);

}  // namespace dptrain

// Purpose: the source of a gzipped file. One of two files makes it: gzip_source.cpp with zlib, gzip_source_none.cpp,
//   which refuses; CMake decides. Thread safety: see byte_source.h.
#pragma once

#include "data/formats/byte_source.h"

namespace dptrain {

/// Errors (data): as open_bytes(); this build has no zlib.
std::unique_ptr<ByteSource> open_gzip(const std::filesystem::path& path, const StopRequest* stop);

}  // namespace dptrain

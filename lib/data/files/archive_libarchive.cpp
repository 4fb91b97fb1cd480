// Compression filters alone, never formats: what a file decompresses to is taken as one stream of bytes.

#include "data/files/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <memory>

#include "core/durable_file.h"
#include "core/error.h"

namespace dptrain {
namespace {

struct Free {
  void operator()(struct archive* reader) const { ::archive_read_free(reader); }
};

}  // namespace

void decompress(const std::filesystem::path& archive, const std::filesystem::path& target, const DataOptions& options) {
  const std::unique_ptr<struct archive, Free> reader(::archive_read_new());
  if (!reader) fail(ExitStatus::failed, "libarchive cannot start: out of memory");
  const auto refuse = [&] {
    const char* why = ::archive_error_string(reader.get());
    fail(ExitStatus::data, "{}: cannot be unpacked: {}", archive.string(),
         why != nullptr ? why : "it does not say why");
  };
  // Those that are code in the library. Others would start programs.
  ::archive_read_support_filter_gzip(reader.get());
  ::archive_read_support_filter_bzip2(reader.get());
  ::archive_read_support_filter_xz(reader.get());
  ::archive_read_support_filter_lzma(reader.get());
  ::archive_read_support_filter_zstd(reader.get());
  ::archive_read_support_filter_lz4(reader.get());
  ::archive_read_support_format_raw(reader.get());
  constexpr std::size_t kWindow = 1 << 16;
  struct archive_entry* entry = nullptr;
  if (::archive_read_open_filename(reader.get(), archive.c_str(), kWindow) != ARCHIVE_OK ||
      ::archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    refuse();
  }
  if (::archive_filter_code(reader.get(), 0) == ARCHIVE_FILTER_NONE) {
    fail(ExitStatus::data, "{}: neither a tar nor a tar compressed by gzip, bzip2, xz, lzma, zstd or lz4",
         archive.string());
  }
  StagedFile staged(target, ExitStatus::data);
  std::int64_t bytes = 0;
  for (;;) {
    throw_if_stopped(options.stop);
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int code = ::archive_read_data_block(reader.get(), &block, &size, &offset);
    if (code == ARCHIVE_EOF) break;
    if (code != ARCHIVE_OK) refuse();
    bytes += static_cast<std::int64_t>(size);
    if (bytes > options.unpack_bytes) {
      fail(ExitStatus::data, "{}: unpacks to more than data.unpack_bytes allows, {}; raise it, or unpack it yourself",
           archive.string(), options.unpack_bytes);
    }
    staged.write({static_cast<const char*>(block), size});
  }
  staged.publish();
}

}  // namespace dptrain

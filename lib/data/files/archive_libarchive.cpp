// Compression filters alone, never formats: what a file decompresses to is taken as one stream of bytes.

#include "data/files/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <memory>
#include <string_view>
#include <vector>

#include "core/durable_file.h"
#include "core/error.h"
#include "data/formats/gzip_source.h"
#include "data/formats/input_file.h"

namespace dptrain {
namespace {

constexpr std::size_t kWindow = 1 << 16;

struct Free {
  void operator()(struct archive* reader) const { ::archive_read_free(reader); }
};

/// What the archive decompresses to so far, within the bound.
class Unpacked {
 public:
  Unpacked(const std::filesystem::path& archive, const std::filesystem::path& target, std::int64_t most)
      : archive_(archive), staged_(target, ExitStatus::data), most_(most) {}

  void write(std::string_view block) {
    bytes_ += static_cast<std::int64_t>(block.size());
    if (bytes_ > most_) {
      fail(ExitStatus::data, "{}: unpacks to more than data.unpack_bytes allows, {}; raise it, or unpack it yourself",
           archive_.string(), most_);
    }
    staged_.write(block);
  }
  void publish() { staged_.publish(); }

 private:
  const std::filesystem::path& archive_;
  StagedFile staged_;
  std::int64_t most_, bytes_ = 0;
};

/// libarchive would pass over a gzip file's checksum and length, and over what follows it; our own reader checks them.
void gunzip(const std::filesystem::path& archive, Unpacked& out, const StopRequest* stop) {
  const std::unique_ptr<ByteSource> source = open_gzip(archive, stop);
  std::vector<std::uint8_t> window(kWindow);
  for (std::size_t size = kWindow; size == kWindow;) {
    size = source->read(window.data(), kWindow);
    out.write({reinterpret_cast<const char*>(window.data()), size});
  }
}

/// Everything but gzip.
void decompress_others(const std::filesystem::path& archive, Unpacked& out, const StopRequest* stop) {
  const std::unique_ptr<struct archive, Free> reader(::archive_read_new());
  if (!reader) fail(ExitStatus::failed, "libarchive cannot start: out of memory");
  const auto refuse = [&] {
    const char* why = ::archive_error_string(reader.get());
    fail(ExitStatus::data, "{}: cannot be unpacked: {}", archive.string(),
         why != nullptr ? why : "it does not say why");
  };
  // Those that are code in the library. Others would start programs.
  ::archive_read_support_filter_bzip2(reader.get());
  ::archive_read_support_filter_xz(reader.get());
  ::archive_read_support_filter_lzma(reader.get());
  ::archive_read_support_filter_zstd(reader.get());
  ::archive_read_support_filter_lz4(reader.get());
  ::archive_read_support_format_raw(reader.get());
  struct archive_entry* entry = nullptr;
  if (::archive_read_open_filename(reader.get(), archive.c_str(), kWindow) != ARCHIVE_OK ||
      ::archive_read_next_header(reader.get(), &entry) != ARCHIVE_OK) {
    refuse();
  }
  if (::archive_filter_code(reader.get(), 0) == ARCHIVE_FILTER_NONE) {
    fail(ExitStatus::data, "{}: neither a tar nor a tar compressed by gzip, bzip2, xz, lzma, zstd or lz4",
         archive.string());
  }
  for (;;) {
    throw_if_stopped(stop);
    const void* block = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int code = ::archive_read_data_block(reader.get(), &block, &size, &offset);
    if (code == ARCHIVE_EOF) break;
    if (code != ARCHIVE_OK) refuse();
    out.write({static_cast<const char*>(block), size});
  }
}

}  // namespace

void decompress(const std::filesystem::path& archive, const std::filesystem::path& target, const DataOptions& options) {
  Unpacked unpacked(archive, target, options.unpack_bytes);
  if (InputFile(archive).starts_as_gzip()) {
    gunzip(archive, unpacked, options.stop);
  } else {
    decompress_others(archive, unpacked, options.stop);
  }
  unpacked.publish();
}

}  // namespace dptrain

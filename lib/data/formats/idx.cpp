#include "data/formats/idx.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"
#include "data/formats/byte_source.h"

namespace dptrain {
namespace {

constexpr std::uint8_t kUnsignedByte = 0x08;

IdxHeader read_header(ByteSource& source, std::int64_t rank) {
  const std::int64_t header_bytes = 4 + 4 * rank;
  std::array<std::uint8_t, 4> magic = {};
  const std::size_t got = source.read(magic.data(), magic.size());
  if (got < magic.size()) {
    source.corrupt(static_cast<std::int64_t>(got),
                   fmt::format("the file ends inside the IDX header; expected {} bytes of header", header_bytes));
  }
  if (magic[0] != 0 || magic[1] != 0) {
    source.corrupt(0, fmt::format("expected an IDX file (00 00), found {:02x} {:02x}", magic[0], magic[1]));
  }
  if (magic[2] != kUnsignedByte) {
    source.corrupt(2, fmt::format("expected values of type 08 (unsigned byte), found {:02x}", magic[2]));
  }
  if (magic[3] != rank) {
    source.corrupt(
        3, fmt::format("expected {} ({}), found {}", rank == 1 ? "1 dimension" : fmt::format("{} dimensions", rank),
                       rank == 1 ? "labels" : "samples, height, width", magic[3]));
  }

  IdxHeader header;
  header.header_bytes = header_bytes;
  header.body_bytes = 1;
  for (std::int64_t axis = 0; axis < rank; ++axis) {
    const std::int64_t at = source.offset();
    std::array<std::uint8_t, 4> word = {};
    const std::size_t read = source.read(word.data(), word.size());
    if (read < word.size()) {
      source.corrupt(at + static_cast<std::int64_t>(read),
                     fmt::format("the file ends inside the IDX header; expected {} bytes of header", header_bytes));
    }
    const std::int64_t extent =
        std::int64_t{word[0]} << 24 | std::int64_t{word[1]} << 16 | std::int64_t{word[2]} << 8 | word[3];
    if (extent == 0) source.corrupt(at, fmt::format("extent {} is zero; expected at least 1", axis));
    // The limit leaves room to add the header, and to index the samples as 32-bit floats.
    if (__builtin_mul_overflow(header.body_bytes, extent, &header.body_bytes) ||
        header.body_bytes > std::numeric_limits<std::int64_t>::max() / 8) {
      source.corrupt(at, fmt::format("the product of the extents overflows at extent {} ({})", axis, extent));
    }
    header.extents.push_back(extent);
  }

  const std::int64_t capacity = source.capacity();
  if (header.file_bytes() > capacity) {
    source.corrupt(
        source.compressed() ? 4 : capacity,
        fmt::format("the header promises {} bytes, the file {} {}; it is truncated or its header is wrong",
                    header.file_bytes(), source.compressed() ? "cannot hold more than" : "ends after", capacity));
  }
  if (!source.compressed() && header.file_bytes() < capacity) {
    source.corrupt(header.file_bytes(),
                   fmt::format("expected the end of the file as the header promises, found {} more bytes",
                               capacity - header.file_bytes()));
  }
  return header;
}

}  // namespace

IdxHeader read_idx_header(const std::filesystem::path& path, std::int64_t rank) {
  const auto source = open_bytes(path);
  return read_header(*source, rank);
}

IdxArray read_idx(const std::filesystem::path& path, std::int64_t rank, const StopRequest* stop) {
  const auto source = open_bytes(path, stop);
  IdxArray array;
  array.header = read_header(*source, rank);
  // The header was held against the file's size, so this asks for no more memory than the file can fill.
  array.values = ByteBlock(static_cast<std::size_t>(array.header.body_bytes));
  const std::size_t got = source->read(array.values.data(), array.values.size());
  if (got < array.values.size()) {
    source->corrupt(source->offset(),
                    fmt::format("the file ends here; the header promises {} bytes", array.header.file_bytes()));
  }
  if (!source->at_end()) {
    source->corrupt(source->offset(), "expected the end of the file as the header promises, found more bytes");
  }
  return array;
}

std::string at_byte(const std::filesystem::path& path, std::int64_t offset) {
  return fmt::format("{}: byte {}{}", path.string(), offset, path.extension() == ".gz" ? " (uncompressed)" : "");
}

void check_labels(const std::filesystem::path& path, const IdxArray& labels, std::int64_t classes) {
  const auto values = labels.values.span();
  const auto bad = std::find_if(values.begin(), values.end(), [&](std::uint8_t label) { return label >= classes; });
  if (bad == values.end()) return;
  fail(ExitStatus::data, "{}: label {} is out of range; expected 0 to {}",
       at_byte(path, labels.header.header_bytes + (bad - values.begin())), *bad, classes - 1);
}

}  // namespace dptrain

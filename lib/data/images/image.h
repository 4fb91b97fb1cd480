// Purpose: a decoded image, and decoding one from the bytes of a file. Thread safety: pure functions; an Image is a
//   value.
// Invariants: no more than kMostPixels pixels are ever made room for, whatever a file claims; extents are looked at
//   before anything is allocated for them. The same bytes give the same pixels, on every thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dptrain {

/// 8192 x 8192: above every camera's, and 192 MiB at most.
inline constexpr std::int64_t kMostPixels = std::int64_t{1} << 26;

struct ImageExtents {
  std::int64_t height = 0, width = 0;
  bool operator==(const ImageExtents&) const = default;
};

struct Image {
  ImageExtents extents;
  std::int64_t channels = 0;        ///< 1 or 3
  std::vector<std::uint8_t> bytes;  ///< (height, width, channels); may be longer, so that its memory serves again
};

/// What decode_image() would find, from the header alone. Errors: as decode_image().
ImageExtents image_extents(std::span<const std::uint8_t> file);

/// Decodes a JPEG or PNG into `channels` channels (1: grey, by the luma of ITU-R BT.601). PNG's alpha is laid on black,
/// 16 bits become 8, CMYK becomes RGB; gamma and colour profiles are not looked at. A JPEG may come out at 1/2, 1/4 or
/// 1/8 of its extents where that is no smaller than `enough`.
/// Errors (data), without the file's name: neither JPEG nor PNG; more than kMostPixels; truncated or corrupt; this
/// build lacks the library.
void decode_image(std::span<const std::uint8_t> file, std::int64_t channels, ImageExtents enough, Image& out);

}  // namespace dptrain

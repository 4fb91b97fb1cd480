// Purpose: the decoders behind decode_image(), one library each. CMake takes jpeg.cpp or jpeg_none.cpp, png.cpp or
//   png_none.cpp.
// Thread safety and errors: as decode_image().
#pragma once

#include <cstdint>
#include <span>

#include "data/images/image.h"

namespace dptrain {

ImageExtents jpeg_extents(std::span<const std::uint8_t> file);
void decode_jpeg(std::span<const std::uint8_t> file, std::int64_t channels, ImageExtents enough, Image& out);

ImageExtents png_extents(std::span<const std::uint8_t> file);
void decode_png(std::span<const std::uint8_t> file, std::int64_t channels, Image& out);

/// ITU-R BT.601, in 16 bits behind the point; each of the three below 256.
inline std::uint8_t grey_of(const std::uint32_t (&rgb)[3]) {
  return static_cast<std::uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 32768) >> 16);
}

/// Makes room for an image. Errors (data): it has no pixels, or more than kMostPixels.
void make_room(ImageExtents extents, std::int64_t channels, Image& out);
/// The check alone.
void check_extents(ImageExtents extents);

}  // namespace dptrain

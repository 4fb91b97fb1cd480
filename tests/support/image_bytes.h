// Purpose: image files for tests, made and not stored: pictures that are a function of their seed, as JPEG, PNG or
//   nothing.
// Thread safety: pure functions. Only for builds with libjpeg-turbo and libpng.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dptrain::test {

struct Picture {
  int height = 0, width = 0;
  std::vector<std::uint8_t> rgb;  ///< (height, width, 3)
  std::uint8_t at(int y, int x, int c) const { return rgb[static_cast<std::size_t>((y * width + x) * 3 + c)]; }
};

/// Smooth colours, so that a JPEG of it is near to it; `label` decides the hue and the direction of its stripes.
Picture make_picture(std::uint64_t seed, int label, int height, int width);

struct JpegOptions {
  int quality = 90;
  bool progressive = false, grey = false;
  bool cmyk = false;  ///< with Adobe's marker and values, as photo editors write it
};
std::string jpeg(const Picture& picture, const JpegOptions& options = {});

enum class PngKind { rgb, grey, palette, rgb_alpha, grey_alpha, rgb16 };
/// Alpha is 255 on the left half and 0 on the right one. rgb16's low bytes are its high ones.
std::string png(const Picture& picture, PngKind kind = PngKind::rgb, bool interlaced = false);
/// The header of a PNG that claims these extents, and little else.
std::string png_claiming(std::uint32_t width, std::uint32_t height);

}  // namespace dptrain::test

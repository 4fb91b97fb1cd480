#include "data/images/image.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

enum class Kind { jpeg, png };

/// By the first bytes: names lie.
Kind kind_of(std::span<const std::uint8_t> file) {
  constexpr std::array<std::uint8_t, 3> jpeg = {0xff, 0xd8, 0xff};
  constexpr std::array<std::uint8_t, 8> png = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  const auto starts = [&](const auto& magic) {
    return file.size() >= magic.size() && std::equal(magic.begin(), magic.end(), file.begin());
  };
  if (starts(jpeg)) return Kind::jpeg;
  if (starts(png)) return Kind::png;
  if (file.empty()) fail(ExitStatus::data, "the file is empty");
  fail(ExitStatus::data, "neither a JPEG (ff d8 ff) nor a PNG (89 50 4e 47) by its first bytes");
}

}  // namespace

ImageExtents image_extents(std::span<const std::uint8_t> file) {
  return kind_of(file) == Kind::jpeg ? jpeg_extents(file) : png_extents(file);
}

void decode_image(std::span<const std::uint8_t> file, std::int64_t channels, ImageExtents enough, Image& out) {
  DPTRAIN_CHECK(channels == 1 || channels == 3, "an image of {} channels", channels);
  if (kind_of(file) == Kind::jpeg) {
    decode_jpeg(file, channels, enough, out);
  } else {
    decode_png(file, channels, out);
  }
}

void check_extents(ImageExtents extents) {
  const auto [height, width] = extents;
  if (height < 1 || width < 1) fail(ExitStatus::data, "an image of {} x {} pixels", width, height);
  if (height > kMostPixels / width) {
    fail(ExitStatus::data, "claims {} x {} pixels; more than {} are refused", width, height, kMostPixels);
  }
}

void make_room(ImageExtents extents, std::int64_t channels, Image& out) {
  check_extents(extents);
  out.extents = extents;
  out.channels = channels;
  const auto bytes = static_cast<std::size_t>(extents.height * extents.width * channels);
  if (out.bytes.size() < bytes) out.bytes.resize(bytes);
}

}  // namespace dptrain

// PNG by libpng's simplified interface, which takes every depth, palette, interlacing and transparency to 8 bits a channel, and
// turns its errors into return values.

#include <png.h>

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

class Reader {
 public:
  /// Delegates, so that what throws below leaves a whole object, which is destroyed.
  explicit Reader(std::span<const std::uint8_t> file) : Reader() {
    image_.version = PNG_IMAGE_VERSION;
    if (::png_image_begin_read_from_memory(&image_, file.data(), file.size()) == 0) refuse();
    check_extents(extents());
  }
  ~Reader() { ::png_image_free(&image_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  ImageExtents extents() const { return {image_.height, image_.width}; }

  /// Into (height, width, 3).
  void read(std::uint8_t* out) {
    image_.format = PNG_FORMAT_RGB;
    image_.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;  // as 8 bits are, unless the file says otherwise
    const png_color black = {0, 0, 0};
    if (::png_image_finish_read(&image_, &black, out, 0, nullptr) == 0) refuse();
  }

 private:
  Reader() = default;

  [[noreturn]] void refuse() const { fail(ExitStatus::data, "cannot be decoded as a PNG: {}", image_.message); }
  png_image image_ = {};
};

}  // namespace

ImageExtents png_extents(std::span<const std::uint8_t> file) {
  return Reader(file).extents();
}

void decode_png(std::span<const std::uint8_t> file, std::int64_t channels, Image& out) {
  Reader reader(file);
  make_room(reader.extents(), 3, out);
  reader.read(out.bytes.data());
  if (channels == 3) return;
  // In place: a grey pixel is written behind the three that it was made of.
  const std::int64_t pixels = out.extents.height * out.extents.width;
  const std::uint8_t* from = out.bytes.data();
  for (std::int64_t k = 0; k < pixels; ++k, from += 3) {
    out.bytes[static_cast<std::size_t>(k)] =
        static_cast<std::uint8_t>((19595u * from[0] + 38470u * from[1] + 7471u * from[2] + 32768u) >> 16);
  }
  out.channels = 1;
}

}  // namespace dptrain

// PNG by libpng. The library reports errors by a call that must not return: it jumps back into the function that called
// it, which therefore has nothing on its stack that needs a destructor. Colours are taken as they are: no gamma, no
// profiles.

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

class Decoder {
 public:
  /// Delegates, so that what throws below leaves a whole object, which is destroyed.
  explicit Decoder(std::span<const std::uint8_t> file) : Decoder() {
    left_ = file;
    png_ = ::png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = ::png_create_info_struct(png_);
    if (info_ == nullptr) fail(ExitStatus::failed, "libpng cannot start: out of memory");
    if (!open()) refuse();
    check_extents(extents());
  }
  ~Decoder() { ::png_destroy_read_struct(&png_, &info_, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  ImageExtents extents() const { return {::png_get_image_height(png_, info_), ::png_get_image_width(png_, info_)}; }

  void decode(std::int64_t channels, Image& out) {
    if (!prepare()) refuse();
    has_alpha_ = ::png_get_channels(png_, info_) == 4;
    make_room(extents(), has_alpha_ ? 4 : 3, out);  // one of which is gone when we are done
    const std::size_t row = ::png_get_rowbytes(png_, info_);
    DPTRAIN_CHECK(row == static_cast<std::size_t>(out.extents.width * out.channels), "a row of {} bytes", row);
    for (std::int64_t y = 0; y < out.extents.height; ++y)
      rows_.push_back(out.bytes.data() + static_cast<std::size_t>(y) * row);
    if (!read()) refuse();
    reduce(channels, out);
  }

 private:
  Decoder() = default;

  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    auto* self = static_cast<Decoder*>(::png_get_error_ptr(png));
    std::snprintf(self->text_, sizeof self->text_, "%s", text);
    ::png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}

  static void on_read(png_structp png, png_bytep out, png_size_t count) {
    auto* self = static_cast<Decoder*>(::png_get_io_ptr(png));
    if (count > self->left_.size()) ::png_error(png, "the file ends too early");
    std::memcpy(out, self->left_.data(), count);
    self->left_ = self->left_.subspan(count);
  }

  [[noreturn]] void refuse() const { fail(ExitStatus::data, "cannot be decoded as a PNG: {}", text_); }

  bool open() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    ::png_set_read_fn(png_, this, on_read);
    ::png_read_info(png_, info_);
    return true;
  }

  /// Every kind of pixel to 8 bits of red, green, blue and perhaps alpha.
  bool prepare() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    ::png_set_expand(png_);
    ::png_set_scale_16(png_);
    ::png_set_gray_to_rgb(png_);
    ::png_set_interlace_handling(png_);
    ::png_read_update_info(png_, info_);
    return true;
  }

  bool read() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    ::png_read_image(png_, rows_.data());
    ::png_read_end(png_, nullptr);
    return true;
  }

  /// Alpha on black, and grey where that is wanted; in place, as no pixel becomes longer.
  void reduce(std::int64_t channels, Image& out) const {
    out.channels = channels;
    if (!has_alpha_ && channels == 3) return;
    const std::int64_t pixels = out.extents.height * out.extents.width;
    const std::uint8_t* from = out.bytes.data();
    std::uint8_t* to = out.bytes.data();
    for (std::int64_t k = 0; k < pixels; ++k, from += has_alpha_ ? 4 : 3) {
      std::uint32_t rgb[3];
      for (int c = 0; c < 3; ++c) rgb[c] = has_alpha_ ? (from[c] * std::uint32_t{from[3]} + 127) / 255 : from[c];
      if (channels == 1) {
        *to++ = grey_of(rgb);
      } else {
        for (int c = 0; c < 3; ++c) *to++ = static_cast<std::uint8_t>(rgb[c]);
      }
    }
  }

  std::span<const std::uint8_t> left_;  // of the file
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  bool has_alpha_ = false;
  std::vector<png_bytep> rows_;
  char text_[256] = {};
};

}  // namespace

ImageExtents png_extents(std::span<const std::uint8_t> file) {
  return Decoder(file).extents();
}

void decode_png(std::span<const std::uint8_t> file, std::int64_t channels, Image& out) {
  Decoder(file).decode(channels, out);
}

}  // namespace dptrain

// JPEG by libjpeg-turbo. The library reports errors by a call that must not return: it jumps back into the function
// that called it, which therefore has nothing on its stack that needs a destructor.

#include <csetjmp>
#include <cstddef>
#include <cstdio>
// clang-format off: jpeglib.h needs the two above, and jerror.h needs jpeglib.h.
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "core/error.h"
#include "data/images/codecs.h"

namespace dptrain {
namespace {

/// Each scan of a progressive file is work as for a whole image; encoders write about ten.
constexpr int kMostScans = 200;

struct Errors {
  jpeg_error_mgr base;  // first: the library knows this part
  std::jmp_buf back;
  char text[JMSG_LENGTH_MAX];
};

[[noreturn]] void give_up(j_common_ptr info) {
  auto* errors = reinterpret_cast<Errors*>(info->err);
  (*info->err->format_message)(info, errors->text);
  std::longjmp(errors->back, 1);
}

/// Warnings of data that are missing or wrong are errors to us: the library would paint the rest grey and go on.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
      give_up(info);
    default:
      break;  // the pixels are all there: bytes too many between markers, odd versions
  }
}

void on_progress(j_common_ptr info) {
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number <= kMostScans) return;
  auto* errors = reinterpret_cast<Errors*>(info->err);
  std::snprintf(errors->text, sizeof errors->text, "more than %d scans", kMostScans);
  std::longjmp(errors->back, 1);
}

class Decoder {
 public:
  /// Delegates, so that what throws below leaves a whole object, which is destroyed.
  explicit Decoder(std::span<const std::uint8_t> file) : Decoder() {
    info_.err = ::jpeg_std_error(&errors_.base);
    errors_.base.error_exit = give_up;
    errors_.base.emit_message = on_message;
    if (!open(file.data(), file.size())) refuse();
    check_extents(extents());
  }
  ~Decoder() { ::jpeg_destroy_decompress(&info_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  ImageExtents extents() const { return {info_.image_height, info_.image_width}; }

  void decode(std::int64_t channels, ImageExtents enough, Image& out) {
    info_.scale_num = 1;
    info_.scale_denom = 1;
    while (info_.scale_denom < 8 && extents().height >= enough.height * 2 * info_.scale_denom &&
           extents().width >= enough.width * 2 * info_.scale_denom) {
      info_.scale_denom *= 2;
    }
    const bool four = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = four ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (!measure()) refuse();
    make_room({info_.output_height, info_.output_width}, channels, out);
    four_ = four;
    row_.resize(four ? std::size_t{4} * info_.output_width : 0);
    if (!read(out.bytes.data(), static_cast<std::size_t>(channels))) refuse();
  }

 private:
  Decoder() = default;

  [[noreturn]] void refuse() const { fail(ExitStatus::data, "cannot be decoded as a JPEG: {}", errors_.text); }

  bool open(const std::uint8_t* bytes, std::size_t size) {
    if (setjmp(errors_.back) != 0) return false;
    jpeg_create_decompress(&info_);
    progress_.progress_monitor = on_progress;
    info_.progress = &progress_;
    ::jpeg_mem_src(&info_, const_cast<std::uint8_t*>(bytes), static_cast<unsigned long>(size));
    ::jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool measure() {
    if (setjmp(errors_.back) != 0) return false;
    ::jpeg_calc_output_dimensions(&info_);
    return true;
  }

  bool read(std::uint8_t* out, std::size_t channels) {
    if (setjmp(errors_.back) != 0) return false;
    ::jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      std::uint8_t* to = out + channels * info_.output_width * info_.output_scanline;
      std::uint8_t* row = four_ ? row_.data() : to;
      ::jpeg_read_scanlines(&info_, &row, 1);
      if (four_) to_rgb(row, to, channels);
    }
    ::jpeg_finish_decompress(&info_);
    return true;
  }

  /// Ink to light, without a profile. Adobe's files hold what is left of the light and not the ink.
  void to_rgb(const std::uint8_t* from, std::uint8_t* to, std::size_t channels) const {
    for (JDIMENSION x = 0; x < info_.output_width; ++x, from += 4, to += channels) {
      std::uint32_t light[3];
      for (int c = 0; c < 3; ++c) {
        const std::uint32_t colour = info_.saw_Adobe_marker ? from[c] : 255u - from[c];
        const std::uint32_t black = info_.saw_Adobe_marker ? from[3] : 255u - from[3];
        light[c] = (colour * black + 127) / 255;
      }
      if (channels == 1) {
        to[0] = grey_of(light);
      } else {
        for (int c = 0; c < 3; ++c) to[c] = static_cast<std::uint8_t>(light[c]);
      }
    }
  }

  jpeg_decompress_struct info_ = {};
  jpeg_progress_mgr progress_ = {};
  Errors errors_ = {};
  bool four_ = false;
  std::vector<std::uint8_t> row_;  // of CMYK
};

}  // namespace

ImageExtents jpeg_extents(std::span<const std::uint8_t> file) {
  return Decoder(file).extents();
}

void decode_jpeg(std::span<const std::uint8_t> file, std::int64_t channels, ImageExtents enough, Image& out) {
  Decoder(file).decode(channels, enough, out);
}

}  // namespace dptrain

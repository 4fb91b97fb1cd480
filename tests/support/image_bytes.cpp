#include "support/image_bytes.h"

#include <png.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
// jpeglib.h needs the two above.
#include <jpeglib.h>

namespace dptrain::test {

Picture make_picture(std::uint64_t seed, int label, int height, int width) {
  Picture picture{height, width, std::vector<std::uint8_t>(static_cast<std::size_t>(height * width * 3))};
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 12345;
  const auto draw = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state >> 40) / double{1 << 24};
  };
  const double phase = 6.28 * draw(), angle = 0.6 * label + 0.3 * draw(), period = 5 + 3 * draw();
  const double light = 60 + 60 * draw();
  std::size_t k = 0;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      const double wave = std::sin((x * std::cos(angle) + y * std::sin(angle)) / period + phase);
      for (int c = 0; c < 3; ++c) {
        const double hue = std::sin(0.9 * label + 2.1 * c);
        picture.rgb[k++] = static_cast<std::uint8_t>(light + 40 * wave + 30 * hue + 25);
      }
    }
  }
  return picture;
}

std::string jpeg(const Picture& picture, const JpegOptions& options) {
  jpeg_compress_struct info = {};
  jpeg_error_mgr errors = {};
  info.err = jpeg_std_error(&errors);  // exits on an error, which would be ours
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = static_cast<JDIMENSION>(picture.width);
  info.image_height = static_cast<JDIMENSION>(picture.height);
  info.input_components = options.cmyk ? 4 : options.grey ? 1 : 3;
  info.in_color_space = options.cmyk ? JCS_CMYK : options.grey ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, options.quality, TRUE);
  if (options.progressive) jpeg_simple_progression(&info);
  if (options.cmyk) info.write_Adobe_marker = TRUE;
  jpeg_start_compress(&info, TRUE);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(picture.width * info.input_components));
  while (info.next_scanline < info.image_height) {
    const int y = static_cast<int>(info.next_scanline);
    for (int x = 0; x < picture.width; ++x) {
      std::uint8_t* to = row.data() + static_cast<std::ptrdiff_t>(x) * info.input_components;
      if (options.grey) {
        to[0] = picture.at(y, x, 1);
      } else {
        for (int c = 0; c < 3; ++c) to[c] = picture.at(y, x, c);
        if (options.cmyk) to[3] = 255;  // no black: what is left of the light is all of it
      }
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  std::string out(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&info);
  std::free(bytes);
  return out;
}

namespace {

void append(png_structp png, png_bytep bytes, png_size_t size) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(bytes), size);
}
void flush(png_structp) {}

int colour_type(PngKind kind) {
  switch (kind) {
    case PngKind::grey:
      return PNG_COLOR_TYPE_GRAY;
    case PngKind::palette:
      return PNG_COLOR_TYPE_PALETTE;
    case PngKind::rgb_alpha:
      return PNG_COLOR_TYPE_RGB_ALPHA;
    case PngKind::grey_alpha:
      return PNG_COLOR_TYPE_GRAY_ALPHA;
    default:
      return PNG_COLOR_TYPE_RGB;
  }
}

std::vector<std::uint8_t> row_of(const Picture& picture, PngKind kind, int y) {
  std::vector<std::uint8_t> row;
  for (int x = 0; x < picture.width; ++x) {
    const std::uint8_t alpha = x < picture.width / 2 ? 255 : 0;
    if (kind == PngKind::palette) {
      row.push_back(picture.at(y, x, 0));
    } else if (kind == PngKind::grey || kind == PngKind::grey_alpha) {
      row.push_back(picture.at(y, x, 1));
      if (kind == PngKind::grey_alpha) row.push_back(alpha);
    } else {
      for (int c = 0; c < 3; ++c) {
        row.push_back(picture.at(y, x, c));
        if (kind == PngKind::rgb16) row.push_back(picture.at(y, x, c));
      }
      if (kind == PngKind::rgb_alpha) row.push_back(alpha);
    }
  }
  return row;
}

}  // namespace

std::string png(const Picture& picture, PngKind kind, bool interlaced) {
  std::string out;
  png_structp file = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(file);
  png_set_write_fn(file, &out, append, flush);
  png_set_IHDR(file, info, static_cast<png_uint_32>(picture.width), static_cast<png_uint_32>(picture.height),
               kind == PngKind::rgb16 ? 16 : 8, colour_type(kind),
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> colours(256);
  for (int k = 0; k < 256; ++k) {
    colours[static_cast<std::size_t>(k)] = {static_cast<png_byte>(k), static_cast<png_byte>(255 - k), 7};
  }
  if (kind == PngKind::palette) png_set_PLTE(file, info, colours.data(), 256);
  png_write_info(file, info);
  std::vector<std::vector<std::uint8_t>> rows;
  std::vector<png_bytep> pointers;
  for (int y = 0; y < picture.height; ++y) rows.push_back(row_of(picture, kind, y));
  for (auto& row : rows) pointers.push_back(row.data());
  png_write_image(file, pointers.data());
  png_write_end(file, info);
  png_destroy_write_struct(&file, &info);
  return out;
}

std::string png_claiming(std::uint32_t width, std::uint32_t height) {
  std::string header("IHDR");
  for (const std::uint32_t extent : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) header += static_cast<char>(extent >> shift);
  }
  header += std::string("\x08\x02\x00\x00\x00", 5);
  std::uint32_t crc = 0xffffffffu;
  for (const char c : header) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  crc = ~crc;
  std::string out("\x89PNG\r\n\x1a\n\0\0\0\x0d", 12);
  out += header;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(crc >> shift);
  // An empty IDAT follows: enough for a header to be believed.
  return out + std::string("\0\0\0\0IDAT\x35\xaf\x06\x1e", 12);
}

}  // namespace dptrain::test

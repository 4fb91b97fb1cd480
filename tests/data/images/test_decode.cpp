// JPEG and PNG: what is decoded, and what is refused with what message.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "core/error.h"
#include "data/images/decoded_images.h"
#include "data/images/image.h"
#include "support/image_bytes.h"

namespace dptrain {
namespace {

using test::JpegOptions;
using test::Picture;
using test::PngKind;

std::span<const std::uint8_t> bytes(const std::string& file) {
  return {reinterpret_cast<const std::uint8_t*>(file.data()), file.size()};
}

constexpr ImageExtents kAll{kMostPixels, kMostPixels};

Image decoded(const std::string& file, std::int64_t channels = 3, ImageExtents enough = kAll) {
  Image image;
  decode_image(bytes(file), channels, enough, image);
  return image;
}

std::string refusal(const std::string& file) {
  try {
    decoded(file);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::data);
    return error.what();
  }
  return "decoded";
}

/// The largest difference of a byte.
int distance(const Image& image, const Picture& picture) {
  REQUIRE(image.extents == ImageExtents{picture.height, picture.width});
  REQUIRE(image.channels == 3);
  int most = 0;
  for (std::size_t k = 0; k < picture.rgb.size(); ++k) {
    most = std::max(most, std::abs(int{image.bytes[k]} - int{picture.rgb[k]}));
  }
  return most;
}

}  // namespace

TEST_CASE("JPEGs are decoded, baseline and progressive; grey ones in colour and colour ones in grey") {
  const Picture picture = test::make_picture(1, 3, 40, 50);
  for (const bool progressive : {false, true}) {
    const std::string file = test::jpeg(picture, {.quality = 95, .progressive = progressive});
    CHECK(image_extents(bytes(file)) == ImageExtents{40, 50});
    CHECK(distance(decoded(file), picture) <= 24);  // colours are kept at half the extents
  }
  const Image grey = decoded(test::jpeg(picture, {.quality = 95, .grey = true}));
  for (std::size_t k = 0; k < 40 * 50; ++k) {
    CHECK(std::abs(int{grey.bytes[3 * k]} - int{picture.rgb[3 * k + 1]}) <= 6);
    CHECK(grey.bytes[3 * k] == grey.bytes[3 * k + 1]);
    CHECK(grey.bytes[3 * k] == grey.bytes[3 * k + 2]);
  }
  const Image luma = decoded(test::jpeg(picture, {.quality = 95}), 1);
  CHECK(luma.channels == 1);
  for (std::size_t k = 0; k < 40 * 50; ++k) {
    const std::uint8_t* rgb = picture.rgb.data() + 3 * k;
    CHECK(std::abs(luma.bytes[k] - (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2])) <= 6);
  }
}

TEST_CASE("a CMYK JPEG becomes RGB") {
  const Picture picture = test::make_picture(2, 1, 24, 24);
  CHECK(distance(decoded(test::jpeg(picture, {.quality = 98, .cmyk = true})), picture) <= 12);
}

TEST_CASE("a JPEG comes out smaller where that is enough") {
  const std::string file = test::jpeg(test::make_picture(3, 1, 160, 240));
  CHECK(decoded(file, 3, {160, 240}).extents == ImageExtents{160, 240});
  CHECK(decoded(file, 3, {80, 121}).extents == ImageExtents{160, 240});
  CHECK(decoded(file, 3, {80, 120}).extents == ImageExtents{80, 120});
  CHECK(decoded(file, 3, {30, 40}).extents == ImageExtents{40, 60});
  CHECK(decoded(file, 3, {1, 1}).extents == ImageExtents{20, 30});
}

TEST_CASE("PNGs are decoded exactly: colour, grey, palette, 16 bit, alpha on black, interlaced or not") {
  const Picture picture = test::make_picture(4, 2, 19, 23);
  for (const bool interlaced : {false, true}) {
    for (const PngKind kind :
         {PngKind::rgb, PngKind::grey, PngKind::palette, PngKind::rgb_alpha, PngKind::grey_alpha, PngKind::rgb16}) {
      CAPTURE(static_cast<int>(kind));
      const Image image = decoded(test::png(picture, kind, interlaced));
      REQUIRE(image.extents == ImageExtents{19, 23});
      for (int y = 0; y < 19; ++y) {
        for (int x = 0; x < 23; ++x) {
          for (int c = 0; c < 3; ++c) {
            int expected = picture.at(y, x, c);
            if (kind == PngKind::grey || kind == PngKind::grey_alpha) expected = picture.at(y, x, 1);
            if (kind == PngKind::palette) {
              const int index = picture.at(y, x, 0);
              expected = c == 0 ? index : c == 1 ? 255 - index : 7;
            }
            if ((kind == PngKind::rgb_alpha || kind == PngKind::grey_alpha) && x >= 23 / 2) expected = 0;
            REQUIRE(int{image.bytes[static_cast<std::size_t>((y * 23 + x) * 3 + c)]} == expected);
          }
        }
      }
    }
  }
  const Image grey = decoded(test::png(picture), 1);
  CHECK(grey.channels == 1);
  CHECK(std::abs(grey.bytes[0] - (0.299 * picture.rgb[0] + 0.587 * picture.rgb[1] + 0.114 * picture.rgb[2])) <= 1);
}

TEST_CASE("what is no image is named; bombs are refused before there is memory for them") {
  CHECK(refusal("") == "the file is empty");
  CHECK(refusal("GIF89a") == "neither a JPEG (ff d8 ff) nor a PNG (89 50 4e 47) by its first bytes");
  CHECK(refusal(test::png_claiming(50000, 50000)) == "claims 50000 x 50000 pixels; more than 67108864 are refused");
  CHECK(refusal(test::png_claiming(999999, 999999)).starts_with("claims 999999 x 999999 pixels"));
  CHECK(refusal(test::png_claiming(0x7fffffff, 0x7fffffff)).starts_with("cannot be decoded as a PNG: "));
  CHECK(refusal(test::png_claiming(8192, 8192)).starts_with("cannot be decoded as a PNG: "));

  std::string jpeg = test::jpeg(test::make_picture(1, 1, 16, 16));
  const std::size_t frame = jpeg.find("\xff\xc0");
  REQUIRE(frame != std::string::npos);
  jpeg.replace(frame + 5, 4, "\xff\xdc\xff\xdc");  // height, width
  CHECK(refusal(jpeg) == "claims 65500 x 65500 pixels; more than 67108864 are refused");
}

TEST_CASE("a truncated file is refused at any length; a byte too many is not") {
  const Picture picture = test::make_picture(5, 2, 17, 13);
  for (const std::string& file : {test::jpeg(picture), test::jpeg(picture, {.progressive = true}), test::png(picture),
                                  test::png(picture, PngKind::rgb16, true)}) {
    for (std::size_t size = 0; size < file.size(); ++size) {
      // A JPEG without its two last bytes, the end marker, has all its pixels, as has a PNG without its last chunk.
      const bool is_jpeg = file[0] == '\xff';
      const std::string message = refusal(file.substr(0, size));
      if (message == "decoded") CHECK(size + (is_jpeg ? 2 : 16) >= file.size());
    }
    CHECK(refusal(file + "x") == "decoded");
  }
  const std::string file = test::jpeg(test::make_picture(5, 2, 64, 64));
  CHECK(refusal(file.substr(0, file.size() / 2)) == "cannot be decoded as a JPEG: Premature end of JPEG file");
}

TEST_CASE("with any byte flipped a file is decoded or refused") {
  const Picture picture = test::make_picture(6, 4, 11, 9);
  for (const std::string& file :
       {test::jpeg(picture), test::jpeg(picture, {.progressive = true}), test::jpeg(picture, {.cmyk = true}),
        test::png(picture), test::png(picture, PngKind::palette), test::png(picture, PngKind::rgb_alpha, true)}) {
    int refused = 0;
    for (std::size_t k = 0; k < file.size(); ++k) {
      for (const int mask : {0x01, 0x80, 0xff}) {
        std::string bad = file;
        bad[k] = static_cast<char>(bad[k] ^ mask);
        refused += refusal(bad) != "decoded";
      }
    }
    CHECK(refused > 0);
  }
}

TEST_CASE("a sample has its channels one after the other, and is scaled only where it is asked for") {
  const Picture picture = test::make_picture(7, 2, 30, 20);
  const std::string file = test::png(picture);
  DecodeScratch scratch;
  std::vector<std::uint8_t> out(3 * 30 * 20);
  decode_sample(bytes(file), Shape{3, 30, 20}, false, scratch, out.data());
  CHECK(out[600 + 20 * 4 + 5] == picture.at(4, 5, 1));
  CHECK_THROWS_WITH(decode_sample(bytes(file), Shape{3, 10, 10}, false, scratch, out.data()),
                    "is 20 x 30 pixels, and the dataset's images are 10 x 10; dataset.resize takes any");
  decode_sample(bytes(file), Shape{3, 10, 10}, true, scratch, out.data());
  // The middle 20 x 20 at half its extents: near to the mean of the pixels there.
  const double mean =
      (picture.at(5 + 8, 8, 0) + picture.at(5 + 8, 9, 0) + picture.at(5 + 9, 8, 0) + picture.at(5 + 9, 9, 0)) / 4.0;
  CHECK(std::abs(out[4 * 10 + 4] - mean) < 6);
}

TEST_CASE("resampling keeps what is even, and mirrors what is mirrored") {
  Resampler resampler;
  const auto resample = [&](const std::vector<std::uint8_t>& plane, ImageExtents from, const Box& box, ImageExtents to,
                            std::vector<std::uint8_t>& out) {
    resampler.prepare(from, box, to);
    resampler.resample({plane.data(), from.width, 1}, out.data());
  };
  std::vector<std::uint8_t> flat(37 * 41, 93), out(64 * 64);
  for (const ImageExtents to : {ImageExtents{1, 1}, ImageExtents{5, 64}, ImageExtents{64, 3}, ImageExtents{37, 41}}) {
    resample(flat, {37, 41}, {0.3, 0.7, 36.1, 39.9}, to, out);
    for (std::int64_t k = 0; k < to.height * to.width; ++k) REQUIRE(out[static_cast<std::size_t>(k)] == 93);
  }
  std::vector<std::uint8_t> ramp(8 * 8), mirrored(8 * 8), a(3 * 5), b(3 * 5), same(8 * 8);
  for (std::size_t k = 0; k < 64; ++k) ramp[k] = static_cast<std::uint8_t>(k * 37 % 251);
  for (std::size_t k = 0; k < 64; ++k) mirrored[k / 8 * 8 + 7 - k % 8] = ramp[k];
  resample(ramp, {8, 8}, {0, 0, 8, 8}, {3, 5}, a);
  resample(mirrored, {8, 8}, {0, 0, 8, 8}, {3, 5}, b);
  for (std::size_t k = 0; k < 15; ++k) CHECK(std::abs(int{a[k]} - int{b[k / 5 * 5 + 4 - k % 5]}) <= 1);
  resample(ramp, {8, 8}, {0, 0, 8, 8}, {8, 8}, same);
  CHECK(same == ramp);
}

}  // namespace dptrain

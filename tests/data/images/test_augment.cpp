// Augmentation: each does what it says, and depends on the seed, the epoch and the sample's id alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>

#include "core/error.h"
#include "core/hash.h"
#include "data/images/augment.h"
#include "data/images/hue.h"
#include "data/images/transformed_images.h"

namespace dptrain {
namespace {

const std::vector<float> kMean{0.5f, 0.4f, 0.3f};

RandomStream draws(std::uint64_t epoch, std::uint64_t seed = 1) {
  return {seed, RandomPurpose::augment, 0, epoch};
}

/// Every byte is another, as far as that goes: (c, y, x) -> 1 + 80 c + 9 y + x.
std::vector<std::uint8_t> numbered(int height, int width) {
  std::vector<std::uint8_t> pixels;
  for (int c = 0; c < 3; ++c) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) pixels.push_back(static_cast<std::uint8_t>(1 + 80 * c + 9 * y + x));
    }
  }
  return pixels;
}

std::vector<std::uint8_t> apply(const std::vector<AugmentSpec>& list, const std::vector<std::uint8_t>& pixels,
                                const Shape& shape, std::uint64_t id, std::uint64_t epoch = 0) {
  const Augmenter augmenter(shape, list, kMean, "test");
  AugmentScratch scratch;
  const std::uint8_t* from = augmenter.augment(pixels.data(), id, draws(epoch), scratch);
  std::vector<std::uint8_t> out(static_cast<std::size_t>(augmenter.output().elements()));
  std::copy_n(from, out.size(), out.begin());
  return out;
}

}  // namespace

TEST_CASE("random_crop with padding takes every place, black outside") {
  const auto pixels = numbered(6, 5);
  std::set<std::pair<int, int>> places;
  for (std::uint64_t id = 0; id < 600; ++id) {
    const auto out = apply({RandomCropSpec{.padding = 2}}, pixels, Shape{3, 6, 5}, id);
    int found = 0;
    for (int top = -2; top <= 2; ++top) {
      for (int left = -2; left <= 2; ++left) {
        bool same = true;
        for (int c = 0; c < 3 && same; ++c) {
          for (int y = 0; y < 6 && same; ++y) {
            for (int x = 0; x < 5 && same; ++x) {
              const bool inside = y + top >= 0 && y + top < 6 && x + left >= 0 && x + left < 5;
              const int expected = inside ? pixels[static_cast<std::size_t>((c * 6 + y + top) * 5 + x + left)] : 0;
              same = out[static_cast<std::size_t>((c * 6 + y) * 5 + x)] == expected;
            }
          }
        }
        if (same) {
          ++found;
          places.emplace(top, left);
        }
      }
    }
    REQUIRE(found == 1);
  }
  CHECK(places.size() == 25);
  CHECK(apply({RandomCropSpec{.height = 4, .width = 3}}, pixels, Shape{3, 6, 5}, 1).size() == 36);
  CHECK_THROWS_WITH_AS(Augmenter(Shape{3, 6, 5}, {RandomCropSpec{.height = 9, .width = 3, .padding = 1}}, kMean, "x"),
                       "dataset.augment: random_crop of 9x3 from images of 6x5 with a padding of 1 (x); make the crop "
                       "smaller, or the padding larger",
                       Error);
}

TEST_CASE("horizontal_flip mirrors each row, as often as it shall") {
  const auto pixels = numbered(4, 5);
  std::vector<std::uint8_t> mirrored(pixels.begin(), pixels.end());
  for (std::size_t row = 0; row < 12; ++row) {
    std::reverse(mirrored.begin() + static_cast<std::ptrdiff_t>(5 * row),
                 mirrored.begin() + static_cast<std::ptrdiff_t>(5 * row + 5));
  }
  int flipped = 0;
  for (std::uint64_t id = 0; id < 2000; ++id) {
    const auto out = apply({HorizontalFlipSpec{0.3}}, pixels, Shape{3, 4, 5}, id);
    const bool is_flipped = out == mirrored;
    if (!is_flipped) REQUIRE(out == pixels);
    flipped += is_flipped;
  }
  CHECK(std::abs(flipped - 600) < 80);
  CHECK(apply({HorizontalFlipSpec{0}}, pixels, Shape{3, 4, 5}, 7) == pixels);
  CHECK(apply({HorizontalFlipSpec{1}}, pixels, Shape{3, 4, 5}, 7) == mirrored);
}

TEST_CASE("cutout puts a square of the mean colour anywhere") {
  const std::vector<std::uint8_t> pixels(3 * 8 * 8, 200);
  std::set<std::size_t> first;
  for (std::uint64_t id = 0; id < 1000; ++id) {
    const auto out = apply({CutoutSpec{4}}, pixels, Shape{3, 8, 8}, id);
    std::size_t cut = 0;
    for (std::size_t k = 0; k < 64; ++k) {
      if (out[k] == 200) continue;
      if (cut++ == 0) first.insert(k);
      REQUIRE(out[k] == 128);
      REQUIRE(out[64 + k] == 102);
      REQUIRE(out[128 + k] == 77);
    }
    REQUIRE(cut >= 4);
    REQUIRE(cut <= 16);
  }
  CHECK(first.size() == 36);  // centres 0 to 7 on each axis; of 0, 1 and 2 the square begins at the edge
}

TEST_CASE("random_resized_crop keeps to its bounds, and falls back to the middle") {
  std::vector<std::uint8_t> pixels(3 * 40 * 60);
  for (std::size_t k = 0; k < pixels.size(); ++k) pixels[k] = static_cast<std::uint8_t>(k % 60 * 4);  // a ramp in x
  double narrowest = 60, widest = 0;
  for (std::uint64_t id = 0; id < 500; ++id) {
    const auto out = apply({RandomResizedCropSpec{10, 10, 0.25, 0.5, 0.8, 1.25}}, pixels, Shape{3, 40, 60}, id);
    REQUIRE(out.size() == 300);
    const double width = (out[7] - out[2]) / 4.0 * 2;  // half of it lies between
    narrowest = std::min(narrowest, width);
    widest = std::max(widest, width);
  }
  CHECK(std::abs(narrowest - std::sqrt(0.25 * 2400 * 0.8)) < 3);
  CHECK(std::abs(widest - std::sqrt(0.5 * 2400 * 1.25)) < 3);
  // All of the area at a ratio that it does not have: the middle.
  const auto middle = apply({RandomResizedCropSpec{40, 40, 1, 1, 1, 1}}, pixels, Shape{3, 40, 60}, 1);
  CHECK(middle[0] == 40);
  CHECK(middle[39] == 49 * 4);
}

TEST_CASE("what is scaled has the same bytes in every build") {
  std::vector<std::uint8_t> pixels(3 * 40 * 60);
  for (std::size_t k = 0; k < pixels.size(); ++k) pixels[k] = static_cast<std::uint8_t>(k * k / 7 + k % 60 * 4);
  Hash128 hash;
  for (const std::int64_t extent : {5, 24, 75}) {
    for (std::uint64_t id = 0; id < 50; ++id) {
      const auto out =
          apply({RandomResizedCropSpec{extent, extent + 3, 0.05, 1, 0.5, 2}}, pixels, Shape{3, 40, 60}, id);
      hash.update(out.data(), out.size());
    }
  }
  AugmentScratch scratch;
  const Augmenter larger(Shape{3, 40, 60}, {RandomResizedCropSpec{.height = 64, .width = 50}}, kMean, "test");
  hash.update(larger.middle(pixels.data(), scratch), 3 * 64 * 50);
  CHECK(hash.hex() == "fd41e4fad860941bf543278a0e5cede4");
}

TEST_CASE("colour_jitter keeps to its bounds; what it does not change stays") {
  std::vector<std::uint8_t> pixels(3 * 16);
  for (std::size_t k = 0; k < pixels.size(); ++k) pixels[k] = static_cast<std::uint8_t>(80 + 5 * k % 60);
  CHECK(apply({ColourJitterSpec{}}, pixels, Shape{3, 4, 4}, 1) == pixels);
  std::set<std::string> seen;
  for (std::uint64_t id = 0; id < 200; ++id) {
    const auto bright = apply({ColourJitterSpec{.brightness = 0.2}}, pixels, Shape{3, 4, 4}, id);
    const auto contrast = apply({ColourJitterSpec{.contrast = 0.5}}, pixels, Shape{3, 4, 4}, id);
    const auto grey = apply({ColourJitterSpec{.saturation = 1}}, pixels, Shape{3, 4, 4}, id);
    double before = 0, after = 0;
    for (std::size_t k = 0; k < 16; ++k) {
      REQUIRE(bright[k] >= static_cast<int>(pixels[k] * 0.8 - 1));
      REQUIRE(bright[k] <= static_cast<int>(pixels[k] * 1.2 + 1));
      const auto luma = [&](const std::vector<std::uint8_t>& of) {
        return 0.299 * of[k] + 0.587 * of[16 + k] + 0.114 * of[32 + k];
      };
      before += luma(pixels);
      after += luma(contrast);
      REQUIRE(std::abs(luma(grey) - luma(pixels)) < 2);
    }
    REQUIRE(std::abs(before - after) < 16 * 1.5);
    seen.emplace(bright.begin(), bright.end());
    seen.emplace(contrast.begin(), contrast.end());
    seen.emplace(grey.begin(), grey.end());
  }
  CHECK(seen.size() > 300);
}

TEST_CASE("the hue turns by a part of the circle; value and saturation stay") {
  const auto pixels = numbered(6, 5);
  const std::int64_t plane = 30;
  auto turned = pixels;
  shift_hue(turned.data(), plane, 1.0f / 3);
  for (std::size_t k = 0; k < 30; ++k) {  // a third makes red green, green blue and blue red
    CHECK(std::abs(turned[30 + k] - pixels[k]) <= 1);
    CHECK(std::abs(turned[60 + k] - pixels[30 + k]) <= 1);
    CHECK(std::abs(turned[k] - pixels[60 + k]) <= 1);
  }
  std::vector<std::uint8_t> red{200, 50, 50};
  shift_hue(red.data(), 1, -0.5f);
  CHECK(red == std::vector<std::uint8_t>{50, 200, 200});
  std::set<int> reds;
  for (std::uint64_t id = 0; id < 50; ++id) {
    const auto out = apply({ColourJitterSpec{.hue = 0.5}}, pixels, Shape{3, 6, 5}, id);
    for (std::size_t k = 0; k < 30; ++k) {
      const auto [low, high] = std::minmax({out[k], out[30 + k], out[60 + k]});
      const auto [lowest, highest] = std::minmax({pixels[k], pixels[30 + k], pixels[60 + k]});
      CHECK(low == lowest);
      CHECK(high == highest);
    }
    reds.insert(out[0]);
  }
  CHECK(reds.size() > 10);
}

TEST_CASE("what a sample becomes depends on seed, epoch and id, and on nothing else") {
  const std::vector<AugmentSpec> list{RandomCropSpec{.padding = 4}, HorizontalFlipSpec{}, CutoutSpec{3},
                                      ColourJitterSpec{0.2, 0.2, 0.2}, RandomResizedCropSpec{6, 7}};
  const Shape shape{3, 9, 8};
  ByteBlock pixels(20 * 216), labels(20);
  for (std::size_t k = 0; k < pixels.size(); ++k) pixels.data()[k] = static_cast<std::uint8_t>(k * 37 % 251);
  for (std::size_t k = 0; k < 20; ++k) labels.data()[k] = static_cast<std::uint8_t>(k % 3);
  const TransformedImages data(std::make_unique<MemoryImages>(std::move(pixels), std::move(labels), 20, shape, 3),
                               Augmenter(shape, list, kMean, "x"), {kMean, {0.2f, 0.2f, 0.2f}}, true);
  CHECK(data.shape() == Shape{3, 6, 7});
  const auto gather = [&](std::vector<std::int64_t> ids, const RandomStream& stream) {
    std::vector<float> out(ids.size() * 126);
    std::vector<std::int32_t> of(ids.size());
    data.gather_augmented(ids, stream, out.data(), of.data());
    return out;
  };
  const auto together = gather({3, 11, 3, 7}, draws(5));
  const auto alone = gather({11}, draws(5));
  CHECK(std::equal(alone.begin(), alone.end(), together.begin() + 126));
  CHECK(std::equal(together.begin(), together.begin() + 126, together.begin() + 252));
  CHECK(gather({11}, draws(5)) == alone);
  CHECK(gather({11}, draws(6)) != alone);
  CHECK(gather({11}, draws(5, 2)) != alone);
  CHECK(gather({12}, draws(5)) != alone);
  // Entries of one kind do not draw the same: else two flips would always undo each other.
  int mirrored = 0;
  for (std::uint64_t id = 0; id < 100; ++id) {
    mirrored += apply({HorizontalFlipSpec{}, HorizontalFlipSpec{}}, numbered(4, 5), Shape{3, 4, 5}, id)[0] == 5;
  }
  CHECK(std::abs(mirrored - 50) < 20);
}

TEST_CASE("evaluation sees the middle, and of images that are too small all of it") {
  const auto pixels = numbered(6, 5);
  AugmentScratch scratch;
  const Augmenter smaller(Shape{3, 6, 5}, {RandomCropSpec{.height = 4, .width = 3}}, kMean, "x");
  const std::uint8_t* out = smaller.middle(pixels.data(), scratch);
  CHECK(out[0] == pixels[5 * 1 + 1]);
  CHECK(out[2 * 12 + 3 * 3 + 2] == pixels[2 * 30 + 5 * 4 + 3]);
  const Augmenter same(Shape{3, 6, 5}, {HorizontalFlipSpec{}}, kMean, "x");
  CHECK(same.middle(pixels.data(), scratch) == pixels.data());
  const Augmenter larger(Shape{3, 6, 5}, {RandomResizedCropSpec{12, 10}}, kMean, "x");
  out = larger.middle(pixels.data(), scratch);
  CHECK(larger.output() == Shape{3, 12, 10});
  CHECK(std::abs(int{out[6 * 10 + 5]} - (1 + 9 * 3 + 2)) <= 5);
}

}  // namespace dptrain

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "core/hash.h"
#include "data/descriptors.h"
#include "data/formats/digit_strokes.h"
#include "data/formats/digits.h"
#include "data/open/open.h"

namespace dptrain::test {
namespace {

std::string digest(const Digits& digits) {
  Hash128 hash;
  hash.update(digits.pixels.data(), digits.pixels.size());
  hash.update(digits.labels.data(), digits.labels.size());
  return hash.hex();
}

TEST_CASE("the same digits for any number of threads, and one by one") {
  const Digits one = generate_digits(1, DigitSplit::train, 500, 1);
  for (const int threads : {2, 3, 7, 501})
    CHECK(digest(generate_digits(1, DigitSplit::train, 500, threads)) == digest(one));
  std::array<std::uint8_t, kDigitPixels> alone;
  CHECK(draw_digit(1, DigitSplit::train, 499, alone) == one.labels.data()[499]);
  CHECK(std::equal(alone.begin(), alone.end(), one.pixels.data() + 499 * kDigitPixels));
}

TEST_CASE("the digits are pinned: every build draws the same") {
  CHECK(digest(generate_digits(1, DigitSplit::train, 1000, 2)) == "eeda18a0ce32c1dc5cad68c58be1ef30");
}

TEST_CASE("seeds, splits and indices have their own digits, and more of them begin with the same") {
  const std::string base = digest(generate_digits(1, DigitSplit::train, 50, 1));
  CHECK(base != digest(generate_digits(2, DigitSplit::train, 50, 1)));
  CHECK(base != digest(generate_digits(1, DigitSplit::test, 50, 1)));
  const Digits more = generate_digits(1, DigitSplit::train, 80, 2), few = generate_digits(1, DigitSplit::train, 50, 1);
  CHECK(std::equal(few.pixels.span().begin(), few.pixels.span().end(), more.pixels.span().begin()));
  CHECK(!std::equal(few.pixels.data(), few.pixels.data() + kDigitPixels, few.pixels.data() + kDigitPixels));
}

TEST_CASE("digits have balanced labels, ink on every image, and the mean and deviation of the descriptor") {
  const std::int64_t count = 20'000;
  const Digits digits = generate_digits(1, DigitSplit::train, count, 2);
  std::array<int, 10> labels = {};
  for (const std::uint8_t label : digits.labels.span()) ++labels.at(label);
  for (const int of_label : labels) CHECK(std::abs(of_label - count / 10) < 250);  // six standard deviations
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    int dark = 0;
    for (int k = 0; k < kDigitPixels; ++k) {
      const double value = digits.pixels.data()[i * kDigitPixels + k] / 255.0;
      sum += value;
      squares += value * value;
      dark += value > 0.5 ? 1 : 0;
    }
    CHECK(dark >= 8);
    CHECK(dark <= 350);
  }
  const double mean = sum / static_cast<double>(count * kDigitPixels);
  const DatasetDescriptor descriptor = find_descriptor("digits");
  CHECK(mean == doctest::Approx(descriptor.mean[0]).epsilon(0.02));
  CHECK(std::sqrt(squares / static_cast<double>(count * kDigitPixels) - mean * mean) ==
        doctest::Approx(descriptor.std[0]).epsilon(0.02));
}

TEST_CASE("strokes keep their bounds") {
  for (int digit = 0; digit < 10; ++digit) {
    CHECK(digit_glyphs(digit).size() >= 3);
    for (const Glyph glyph : digit_glyphs(digit)) {
      CHECK(glyph.size() <= static_cast<std::size_t>(kMostGlyphStrokes));
      for (const Stroke stroke : glyph) {
        CHECK(stroke.size() >= 2);
        CHECK(stroke.size() <= static_cast<std::size_t>(kMostStrokePoints));
      }
    }
  }
}

TEST_CASE("nearest mean image tells most digits: they are digits, and not trivial") {
  const std::int64_t train_count = 4000, test_count = 1000;
  const Digits train = generate_digits(1, DigitSplit::train, train_count, 2),
               test = generate_digits(1, DigitSplit::test, test_count, 2);
  std::array<std::array<double, kDigitPixels>, 10> means = {};
  std::array<double, 10> counts = {};
  for (std::int64_t i = 0; i < train_count; ++i) {
    const std::size_t label = train.labels.data()[i];
    ++counts[label];
    for (int k = 0; k < kDigitPixels; ++k)
      means[label][static_cast<std::size_t>(k)] += train.pixels.data()[i * kDigitPixels + k];
  }
  int right = 0;
  for (std::int64_t i = 0; i < test_count; ++i) {
    std::array<double, 10> distances = {};
    for (std::size_t label = 0; label < 10; ++label) {
      for (int k = 0; k < kDigitPixels; ++k) {
        const double apart =
            test.pixels.data()[i * kDigitPixels + k] - means[label][static_cast<std::size_t>(k)] / counts[label];
        distances[label] += apart * apart;
      }
    }
    right += std::min_element(distances.begin(), distances.end()) - distances.begin() == test.labels.data()[i] ? 1 : 0;
  }
  CHECK(right > 500);
  CHECK(right < 900);
}

}  // namespace
}  // namespace dptrain::test

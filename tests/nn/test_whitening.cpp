// Filters that whiten patches: against the moments of their own outputs.
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "core/philox.h"
#include "nn/whitening.h"

using namespace dptrain;

namespace {

/// Images (2, 9, 7) whose neighbours are alike, and the channels too.
std::vector<std::vector<float>> smooth_images(int count) {
  const RandomStream draws(5, RandomPurpose::initialise, 0);
  std::vector<std::vector<float>> images;
  for (int k = 0; k < count; ++k) {
    std::vector<float> image(2 * 9 * 7);
    for (std::size_t i = 0; i < image.size(); ++i) {
      const float noise = 2 * draws.uniform(static_cast<std::uint32_t>(k), i) - 1;
      image[i] = noise + (i % 7 > 0 ? 0.8F * image[i - 1] : 0) + (i >= 63 ? 0.5F * image[i - 63] : 0) + 0.1F;
    }
    images.push_back(std::move(image));
  }
  return images;
}

std::vector<float> filters_of(const std::vector<std::vector<float>>& images) {
  PatchWhitening whitening(Shape{2, 9, 7}, 3, 2);
  CHECK(whitening.patches_per_image() == 7 * 6);
  for (const auto& image : images) whitening.add(image.data());
  return whitening.filters();
}

}  // namespace

TEST_CASE("what whitening filters give has variance one and does not correlate") {
  constexpr std::size_t kSize = 2 * 3 * 2;
  const auto images = smooth_images(200);
  const std::vector<float> filters = filters_of(images);
  REQUIRE(filters.size() == 2 * kSize * kSize);

  std::vector<double> moments(kSize * kSize);
  double patches = 0;
  for (const auto& image : images) {
    for (std::size_t y = 0; y < 7; ++y) {
      for (std::size_t x = 0; x < 6; ++x, ++patches) {
        std::vector<double> out(kSize);
        for (std::size_t f = 0; f < kSize; ++f) {
          const float* filter = filters.data() + 2 * f * kSize;  // the positive one of each pair
          for (std::size_t c = 0; c < 2; ++c)
            for (std::size_t i = 0; i < 3; ++i)
              for (std::size_t j = 0; j < 2; ++j)
                out[f] += double{filter[(c * 3 + i) * 2 + j]} * double{image[(c * 9 + y + i) * 7 + x + j]};
        }
        for (std::size_t a = 0; a < kSize; ++a)
          for (std::size_t b = 0; b < kSize; ++b) moments[a * kSize + b] += out[a] * out[b];
      }
    }
  }
  for (std::size_t a = 0; a < kSize; ++a) {
    for (std::size_t b = 0; b < kSize; ++b) {
      CAPTURE(a);
      CAPTURE(b);
      // 5e-4 is added to every eigenvalue; the smallest here is about 0.1.
      CHECK(moments[a * kSize + b] / patches == doctest::Approx(a == b ? 1.0 : 0.0).epsilon(0.01));
    }
  }
}

TEST_CASE("whitening filters come in pairs of opposite sign, the largest variance first, with the same bits each time") {
  constexpr std::size_t kSize = 12;
  const std::vector<float> filters = filters_of(smooth_images(20));
  CHECK(filters == filters_of(smooth_images(20)));
  double last = 0;
  for (std::size_t f = 0; f < kSize; ++f) {
    double norm = 0;
    for (std::size_t i = 0; i < kSize; ++i) {
      CHECK(filters[2 * f * kSize + i] == -filters[(2 * f + 1) * kSize + i]);
      norm += double{filters[2 * f * kSize + i]} * double{filters[2 * f * kSize + i]};
    }
    CHECK(norm >= last);  // one over the eigenvalue
    last = norm;
  }
}

TEST_CASE("images that are all the same value give filters that are finite") {
  PatchWhitening whitening(Shape{1, 4, 4}, 2, 2);
  const std::vector<float> black(16, 0.0F);
  whitening.add(black.data());
  for (const float value : whitening.filters()) CHECK(std::isfinite(value));
}

#include "data/images/hue.h"

#include <algorithm>
#include <cmath>

namespace dptrain {

namespace {

/// In sixths of the circle, from red on.
float hue_of(int red, int green, int blue, int largest, int chroma) {
  const auto part = [&](int of, int minus) { return static_cast<float>(of - minus) / static_cast<float>(chroma); };
  if (largest == red) return part(green, blue);
  if (largest == green) return 2 + part(blue, red);
  return 4 + part(red, green);
}

}  // namespace

void shift_hue(std::uint8_t* pixels, std::int64_t plane, float turn) {
  const float sixths = 6 * (turn - std::floor(turn));
  for (std::uint8_t* pixel = pixels; pixel < pixels + plane; ++pixel) {
    const int red = pixel[0], green = pixel[plane], blue = pixel[2 * plane];
    const int largest = std::max({red, green, blue}), chroma = largest - std::min({red, green, blue});
    if (chroma == 0) continue;  // grey has no hue
    const float hue = hue_of(red, green, blue, largest, chroma) + sixths;
    std::int64_t place = 0;
    for (const float from : {5.0f, 3.0f, 1.0f}) {
      const float k = std::fmod(from + hue + 6, 6.0f);
      const float less = std::clamp(std::min(k, 4 - k), 0.0f, 1.0f);
      pixel[place] = static_cast<std::uint8_t>(static_cast<float>(largest) - static_cast<float>(chroma) * less + 0.5f);
      place += plane;
    }
  }
}

}  // namespace dptrain

// Purpose: the hue of an image's pixels, turned. Thread safety: a pure function.
#pragma once

#include <cstdint>

namespace dptrain {

/// Three planes of `plane` bytes each, red, green and blue. `turn`: of the circle of hues, 1 being all of it; the value
/// and the saturation of each pixel stay (Smith, "Color gamut transform pairs", SIGGRAPH 1978).
void shift_hue(std::uint8_t* pixels, std::int64_t plane, float turn);

}  // namespace dptrain

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "core/bfloat16.h"

using namespace dptrain;

namespace {

float through(float value) {
  return static_cast<float>(BFloat16(value));
}

}  // namespace

TEST_CASE("what has 8 bits stays") {
  for (const float value : {0.0f, 1.0f, -2.0f, 255.0f, 0x1.fep-3f, -0x1.02p100f, 0x1p-126f, 0x1p-133f})
    CHECK(through(value) == value);
  CHECK(std::signbit(through(-0.0f)));
}

TEST_CASE("rounding is to the nearest, ties to even") {
  CHECK(through(0x1.01p0f) == 0x1.00p0f);      // a tie, down to even
  CHECK(through(0x1.03p0f) == 0x1.04p0f);      // a tie, up to even
  CHECK(through(0x1.010002p0f) == 0x1.02p0f);  // just above
  CHECK(through(0x1.02fffep0f) == 0x1.02p0f);  // just below
  CHECK(through(-0x1.03p0f) == -0x1.04p0f);
  CHECK(through(0x1.ffp0f) == 2.0f);  // into the next exponent
}

TEST_CASE("what is too large becomes infinite, and NaN stays NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(through(std::numeric_limits<float>::max()) == infinity);
  CHECK(through(infinity) == infinity);
  CHECK(through(-infinity) == -infinity);
  CHECK(std::isnan(through(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(through(std::bit_cast<float>(std::uint32_t{0x7F800001}))));  // all that says so is in the lower half
  CHECK(std::isnan(through(std::bit_cast<float>(std::uint32_t{0xFFFFFFFF}))));
}

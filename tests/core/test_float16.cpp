#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <limits>

#include "core/float16.h"

using namespace dptrain;

namespace {

float through(float value) {
  return static_cast<float>(Float16(value));
}

Float16 of_bits(std::uint16_t bits) {
  Float16 half;
  half.bits = bits;
  return half;
}

}  // namespace

TEST_CASE("every half is what its bits say, and comes back from fp32 as it was") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 half = of_bits(static_cast<std::uint16_t>(bits));
    const auto value = static_cast<float>(half);
    const int exponent = static_cast<int>((bits >> 10) & 0x1F);
    const double mantissa = static_cast<double>(bits & 0x3FF), sign = (bits & 0x8000) != 0 ? -1 : 1;
    if (exponent == 0x1F) {
      CHECK(std::isnan(value) == (mantissa > 0));
      CHECK(std::isinf(value) == (mantissa == 0));
    } else {
      const double magnitude = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      CHECK(double{value} == sign * magnitude);
      CHECK(std::signbit(value) == (sign < 0));
    }
    if (std::isnan(value))
      CHECK(std::isnan(through(value)));
    else
      CHECK(Float16(value).bits == half.bits);
  }
}

TEST_CASE("between two halves the nearer one is taken, and of two that are as near the even one") {
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {  // positive ones, denormals first, up to the last but one
    const double below = static_cast<float>(of_bits(static_cast<std::uint16_t>(bits))),
                 above = static_cast<float>(of_bits(static_cast<std::uint16_t>(bits + 1)));
    const auto middle = static_cast<float>((below + above) / 2);  // has one bit more, which fp32 holds
    const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    CHECK(Float16(middle).bits == even);
    CHECK(Float16(std::nextafter(middle, 0.0f)).bits == bits);
    CHECK(Float16(std::nextafter(middle, 1e6f)).bits == bits + 1);
    CHECK(Float16(-middle).bits == (even | 0x8000));
  }
}

TEST_CASE("what is too large becomes infinite, what is too small zero, and NaN stays NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(through(65504.0f) == 65504.0f);
  CHECK(through(std::nextafter(65520.0f, 0.0f)) == 65504.0f);
  CHECK(through(65520.0f) == infinity);
  CHECK(through(-1e30f) == -infinity);
  CHECK(through(-infinity) == -infinity);
  CHECK(through(0x1p-25f) == 0.0f);
  CHECK(through(std::nextafter(0x1p-25f, 1.0f)) == 0x1p-24f);
  CHECK(std::signbit(through(-1e-30f)));
  CHECK(std::isnan(through(std::numeric_limits<float>::quiet_NaN())));
  CHECK(std::isnan(through(std::bit_cast<float>(std::uint32_t{0x7F800001}))));  // all that says so is in the lower bits
}

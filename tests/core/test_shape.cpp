#include <doctest/doctest.h>

#include <limits>

#include "core/error.h"
#include "core/shape.h"

using namespace dptrain;

TEST_CASE("a shape knows its extents, elements and text") {
  const Shape image{3, 28, 27};
  CHECK(image.rank() == 3);
  CHECK(image[2] == 27);
  CHECK(image.elements() == 3 * 28 * 27);
  CHECK(image.text() == "3x28x27");
  CHECK(Shape().elements() == 1);
  CHECK(Shape().rank() == 0);
  CHECK(Shape().text().empty());
  CHECK(Shape{7}.text() == "7");
}

TEST_CASE("shapes are equal where all extents are") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{6} == Shape{2, 3});
}

TEST_CASE("extents below one and products that overflow are refused") {
  CHECK_THROWS_AS(Shape({3, 0}), Error);
  CHECK_THROWS_AS(Shape({-1}), Error);
  const std::int64_t large = std::int64_t{1} << 32;
  CHECK_THROWS_AS(Shape({large, large}), Error);
  CHECK(Shape{large, large / 4}.elements() == std::int64_t{1} << 62);
  CHECK(Shape{std::numeric_limits<std::int64_t>::max()}.elements() == std::numeric_limits<std::int64_t>::max());
}

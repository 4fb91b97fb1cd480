#include <doctest/doctest.h>

#include <cmath>

#include "core/statistics.h"

namespace dptrain {

TEST_CASE("the median is the middle value, or halfway between the two in the middle") {
  CHECK(std::isnan(median({})));
  CHECK(median({5}) == 5);
  CHECK(median({4, 1}) == 2.5);
  CHECK(median({3, 1, 2}) == 2);
  CHECK(median({4, 1, 100, 2}) == 3);
  CHECK(median({7, 7, 7, 1}) == 7);
}

}  // namespace dptrain

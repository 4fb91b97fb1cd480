#include "core/shape.h"

#include <fmt/ranges.h>

#include "core/error.h"

namespace dptrain {

Shape::Shape(std::vector<std::int64_t> extents) : extents_(std::move(extents)) {
  for (std::int64_t extent : extents_) {
    DPTRAIN_CHECK(extent >= 1, "extent {} of a shape is below 1", extent);
    DPTRAIN_CHECK(!__builtin_mul_overflow(elements_, extent, &elements_), "a shape's element count overflows");
  }
}

std::string Shape::text() const {
  return fmt::format("{}", fmt::join(extents_, "x"));
}

}  // namespace dptrain

// Purpose: the logical extents of a tensor. Invariants: every extent is at least 1; the product fits in int64.
// Thread safety: a value.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace dptrain {

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents) : Shape(std::vector<std::int64_t>(extents)) {}
  explicit Shape(std::vector<std::int64_t> extents);

  std::size_t rank() const { return extents_.size(); }
  std::int64_t operator[](std::size_t axis) const { return extents_[axis]; }
  const std::vector<std::int64_t>& extents() const { return extents_; }
  /// Product of the extents; 1 for rank 0.
  std::int64_t elements() const { return elements_; }
  bool operator==(const Shape&) const = default;
  /// "1x28x28".
  std::string text() const;

 private:
  std::vector<std::int64_t> extents_;
  std::int64_t elements_ = 1;
};

}  // namespace dptrain

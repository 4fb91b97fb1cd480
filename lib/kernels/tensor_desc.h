// Purpose: what one sample of a tensor looks like in memory: its logical shape, the layout that the kernels chose for
//   it, and what its elements are stored as. Its gradient looks the same.
// Thread safety: values. Invariants: a padded layout's padding is zero at all times.
#pragma once

#include <cstdint>
#include <vector>

#include "core/element_type.h"
#include "core/shape.h"

namespace dptrain {

struct Layout {
  enum class Order {
    plain,          ///< (C, H, W), row-major
    channels_last,  ///< (H, W, C)
    blocked,        ///< (ceil(C / block), H, W, block), channels padded with zeros
  };
  Order order = Order::plain;
  std::int64_t block = 1;
  bool operator==(const Layout&) const = default;
};

struct TensorDesc {
  Shape shape;  ///< logical: (C, H, W) or (F)
  Layout layout;
  Shape stored;  ///< what `layout` arranges; differs from `shape` only after a flatten, which moves nothing in memory
  ElementType type = ElementType::float32;

  TensorDesc() = default;
  explicit TensorDesc(Shape plain_shape) : shape(plain_shape), stored(std::move(plain_shape)) {}
  TensorDesc(Shape logical, Layout chosen, ElementType chosen_type = ElementType::float32)
      : shape(logical), layout(chosen), stored(std::move(logical)), type(chosen_type) {}

  /// Places of one sample in memory, padding included.
  std::int64_t size() const;
  std::int64_t bytes() const { return size() * bytes_of(type); }
  bool padded() const { return size() != shape.elements(); }
  bool plain() const { return layout.order == Layout::Order::plain; }
  /// The same places with elements of another type.
  TensorDesc as(ElementType other) const;
  /// The same memory seen as features.
  TensorDesc flattened() const;
  /// For each place of a sample in memory the logical element there, -1 for padding; size() entries.
  std::vector<std::int32_t> logical_elements() const;
  bool operator==(const TensorDesc&) const = default;
};

}  // namespace dptrain

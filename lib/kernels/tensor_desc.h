// Purpose: what one sample of a tensor looks like in memory: its logical shape and the layout the kernels chose for it.
// Thread safety: values. Invariants: a padded layout's padding is zero at all times.
#pragma once

#include <cstdint>
#include <vector>

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

  TensorDesc() = default;
  explicit TensorDesc(Shape plain_shape) : shape(plain_shape), stored(std::move(plain_shape)) {}
  TensorDesc(Shape logical, Layout chosen) : shape(logical), layout(chosen), stored(std::move(logical)) {}

  /// Floats of one sample in memory, padding included.
  std::int64_t size() const;
  bool padded() const { return size() != shape.elements(); }
  bool plain() const { return layout.order == Layout::Order::plain; }
  /// The same memory seen as features.
  TensorDesc flattened() const;
  /// For each place of a sample in memory the logical element there, -1 for padding; size() entries.
  std::vector<std::int32_t> logical_elements() const;
  bool operator==(const TensorDesc&) const = default;
};

}  // namespace dptrain

// Purpose: loops that are written once for all types of elements: they compute in fp32 and store what they were given.
// Thread safety: pure functions.
#pragma once

#include "core/bfloat16.h"
#include "core/element_type.h"

namespace dptrain::cpu {

/// body(an element of that type), whose value means nothing.
template <class Body>
auto with_element(ElementType type, const Body& body) {
  return type == ElementType::float32 ? body(float{}) : body(BFloat16{});
}

}  // namespace dptrain::cpu

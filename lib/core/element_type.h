// Purpose: what the elements of a tensor are stored as. Thread safety: values.
#pragma once

#include <cstdint>

namespace dptrain {

/// bfloat16 is a float without the lower half of its mantissa: 8 bits of precision, the range of fp32. float16 is
/// IEEE's half: 11 bits of precision, magnitudes from 2^-24 to 65504.
enum class ElementType { float32, bfloat16, float16 };

constexpr std::int64_t bytes_of(ElementType type) {
  return type == ElementType::float32 ? 4 : 2;
}

}  // namespace dptrain

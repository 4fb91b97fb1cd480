// Of CUDA's header for half what the project uses, on the host: the same rounding, to the nearest, ties to even, and
// infinity above the range.
#pragma once

#include "core/float16.h"

struct __half {
  unsigned short bits;
};

inline float __half2float(__half value) {
  dptrain::Float16 half{};
  half.bits = value.bits;
  return static_cast<float>(half);
}
inline __half __float2half_rn(float value) {
  return {dptrain::Float16(value).bits};
}

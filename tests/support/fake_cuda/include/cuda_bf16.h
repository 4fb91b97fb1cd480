// Of CUDA's header for bfloat16 what the project uses, on the host: the same rounding, to the nearest, ties to even.
#pragma once

#include "core/bfloat16.h"

struct __nv_bfloat16 {
  unsigned short bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  dptrain::BFloat16 half{};
  half.bits = value.bits;
  return static_cast<float>(half);
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  return {dptrain::BFloat16(value).bits};
}

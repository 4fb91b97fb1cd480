// Purpose: loops that are written once for all types of elements: they compute in fp32, and store what they were given,
//   rounded to the nearest, ties to even. For .cu files alone; where tests run bodies on the host they have cuda_fp16.h
//   and cuda_bf16.h of their own. Thread safety: pure functions.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/element_type.h"
#include "core/host_device.h"

namespace dptrain::cuda {

DPTRAIN_HD inline float wide(float value) {
  return value;
}
DPTRAIN_HD inline float wide(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
DPTRAIN_HD inline float wide(__half value) {
  return __half2float(value);
}

DPTRAIN_HD inline void store(float& place, float value) {
  place = value;
}
DPTRAIN_HD inline void store(__nv_bfloat16& place, float value) {
  place = __float2bfloat16_rn(value);
}
DPTRAIN_HD inline void store(__half& place, float value) {
  place = __float2half_rn(value);
}

/// use(an element of that type), whose value means nothing.
template <class Use>
void with_element(ElementType type, const Use& use) {
  switch (type) {
    case ElementType::float32:
      return use(float{});
    case ElementType::bfloat16:
      return use(__nv_bfloat16{});
    case ElementType::float16:
      return use(__half{});
  }
}

template <class Element>
const Element* elements(const void* tensor) {
  return static_cast<const Element*>(tensor);
}
template <class Element>
Element* elements(void* tensor) {
  return static_cast<Element*>(tensor);
}

}  // namespace dptrain::cuda

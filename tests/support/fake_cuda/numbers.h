// Purpose: elements of the types that cuBLASLt, cuDNN and NCCL take, one by one, for their doubles: they compute in
//   fp32 and round what they store to the nearest, ties to even. Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstring>

#include "core/bfloat16.h"
#include "core/float16.h"

namespace fake_cuda {

enum class Number { fp32, bf16, fp16 };

constexpr std::size_t bytes_of(Number type) {
  return type == Number::fp32 ? 4 : 2;
}

template <class Stored>
float read_as(const void* data, std::size_t place) {
  Stored stored;
  std::memcpy(&stored, static_cast<const char*>(data) + place * sizeof stored, sizeof stored);
  return static_cast<float>(stored);
}
template <class Stored>
void write_as(void* data, std::size_t place, float value) {
  const Stored stored(value);
  std::memcpy(static_cast<char*>(data) + place * sizeof stored, &stored, sizeof stored);
}

inline float read(const void* data, std::size_t place, Number type) {
  if (type == Number::fp32) return read_as<float>(data, place);
  return type == Number::bf16 ? read_as<dptrain::BFloat16>(data, place) : read_as<dptrain::Float16>(data, place);
}
inline void write(void* data, std::size_t place, Number type, float value) {
  if (type == Number::fp32) return write_as<float>(data, place, value);
  if (type == Number::bf16) return write_as<dptrain::BFloat16>(data, place, value);
  write_as<dptrain::Float16>(data, place, value);
}

}  // namespace fake_cuda

#include "support/allocations.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace dptrain::test {

std::atomic<std::int64_t> allocations{0}, allocated_bytes{0}, large_allocations{0};

}  // namespace dptrain::test

namespace {

using namespace dptrain::test;

// The size stands in front of the block, in as many bytes as its alignment.
void* allocate(std::size_t bytes, std::size_t alignment) {
  alignment = std::max(alignment, alignof(std::max_align_t));
  const std::size_t rounded = (bytes + 2 * alignment - 1) / alignment * alignment;
  auto* block = static_cast<char*>(std::aligned_alloc(alignment, rounded));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(block) = bytes;
  ++allocations;
  allocated_bytes += static_cast<std::int64_t>(bytes);
  large_allocations += bytes >= kLargeAllocation;
  return block + alignment;
}

void release(void* pointer, std::size_t alignment) {
  if (pointer == nullptr) return;
  alignment = std::max(alignment, alignof(std::max_align_t));
  char* block = static_cast<char*>(pointer) - alignment;
  allocated_bytes -= static_cast<std::int64_t>(*reinterpret_cast<std::size_t*>(block));
  std::free(block);
}

}  // namespace

// All forms, since under AddressSanitizer those that are not replaced do not call these.
using Alignment = std::align_val_t;
void* operator new(std::size_t bytes) {
  return allocate(bytes, 1);
}
void* operator new[](std::size_t bytes) {
  return allocate(bytes, 1);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return allocate(bytes, 1);
}
void* operator new(std::size_t bytes, Alignment a) {
  return allocate(bytes, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t bytes, Alignment a) {
  return allocate(bytes, static_cast<std::size_t>(a));
}
void operator delete(void* pointer) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, std::size_t) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer, std::size_t) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, const std::nothrow_t&) noexcept {
  release(pointer, 1);
}
void operator delete[](void* pointer, const std::nothrow_t&) noexcept {
  release(pointer, 1);
}
void operator delete(void* pointer, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete[](void* pointer, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete(void* pointer, std::size_t, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}
void operator delete[](void* pointer, std::size_t, Alignment a) noexcept {
  release(pointer, static_cast<std::size_t>(a));
}

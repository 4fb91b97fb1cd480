#include "device/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace dptrain {

Buffer Buffer::host(std::size_t bytes) {
  constexpr std::size_t kCacheLine = 64, kHugePage = std::size_t{2} << 20;
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded == 0) return {};
  void* memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) fail(ExitStatus::failed, "out of memory: {} bytes were asked for", rounded);
  if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: a refusal only costs speed
  std::memset(memory, 0, rounded);
  return adopt(memory, bytes, &std::free);
}

Buffer Buffer::adopt(void* memory, std::size_t bytes, Release release) {
  Buffer buffer;
  buffer.bytes_ = {memory, release};
  buffer.size_ = bytes;
  return buffer;
}

}  // namespace dptrain

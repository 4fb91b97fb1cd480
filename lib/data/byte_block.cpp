#include "data/byte_block.h"

#include <sys/mman.h>

#include <cstdlib>

#include "core/error.h"

namespace dptrain {

ByteBlock::ByteBlock(std::size_t size) : size_(size) {
  constexpr std::size_t huge = std::size_t{2} << 20;
  const std::size_t alignment = size >= huge ? huge : 64;
  const std::size_t rounded = (size + alignment) / alignment * alignment;
  bytes_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(alignment, rounded)));
  if (!bytes_) fail(ExitStatus::failed, "out of memory: a dataset needs {} bytes", size);
  // Advice only: where the kernel has no huge pages nothing is lost.
  if (size >= huge) ::madvise(bytes_.get(), rounded, MADV_HUGEPAGE);
}

void ByteBlock::Free::operator()(std::uint8_t* bytes) const {
  std::free(bytes);
}

}  // namespace dptrain

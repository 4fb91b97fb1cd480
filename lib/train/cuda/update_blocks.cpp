#include "train/cuda/update_blocks.h"

#include "core/error.h"
#include "train/cuda/stream_work.h"

namespace dptrain {

Buffer upload_blocks(const UpdateRanges& ranges, std::int64_t floats) {
  const std::vector<UpdateBlock> blocks = cuda::update_blocks(ranges, floats);
  if (blocks.empty()) return {};
  return upload(blocks);
}

cuda::Blocks blocks_at(const Buffer& blocks, std::int64_t first) {
  if (blocks.size() == 0) return nullptr;
  DPTRAIN_CHECK(first % kUpdateBlock == 0, "a slice from float {} on begins within a block", first);
  return static_cast<cuda::Blocks>(blocks.data()) + first / kUpdateBlock;
}

}  // namespace dptrain

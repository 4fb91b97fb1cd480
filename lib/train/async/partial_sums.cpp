#include "train/async/partial_sums.h"

#include <algorithm>
#include <bit>

namespace dptrain {

std::optional<Block> PartialSums::take_sibling(const Block& block) {
  const auto found = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& other) {
    return other.size == block.size && other.first == (block.first ^ block.size);
  });
  if (found == blocks_.end()) return std::nullopt;
  const Block sibling = *found;
  blocks_.erase(found);
  return sibling;
}

std::vector<Block> PartialSums::take_all() {
  std::vector<Block> all;
  all.swap(blocks_);
  std::sort(all.begin(), all.end(), [](const Block& a, const Block& b) { return a.first < b.first; });
  return all;
}

std::int64_t PartialSums::most(std::int64_t leaves) {
  return std::bit_width(static_cast<std::uint64_t>(leaves));
}

}  // namespace dptrain

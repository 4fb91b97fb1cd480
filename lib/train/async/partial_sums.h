// Purpose: the gradient sums of a version whose micro-batches are known beforehand, added up as they come: the complete
//   subtrees of the tree's order that stand alone so far. It knows places and buffers, no gradients.
// Thread safety: one user at a time; the Dispatcher's mutex guards it. Invariants: what is added to what is a node of
//   the tree over all leaves of the version, however many those will be: blocks of a power of two, at multiples of
//   their size.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace dptrain {

/// The sum of leaves [first, first + size), in a buffer.
struct Block {
  std::int64_t first = 0, size = 1;
  int buffer = 0;
  bool operator==(const Block&) const = default;
};

class PartialSums {
 public:
  /// The other half of the block that holds this one next, where it is there: it is taken out, to be added.
  std::optional<Block> take_sibling(const Block& block);
  /// Puts this, added to what is there of the blocks that it completes: `add(left, right)` makes one of two.
  template <class Add>
  void fold(Block block, const Add& add) {
    while (const auto sibling = take_sibling(block))
      block = sibling->first < block.first ? add(*sibling, block) : add(block, *sibling);
    put(block);
  }
  /// No leaf will come any more: all that stand alone are added to one. There is one at least.
  template <class Add>
  void fold_rest(const Add& add) {
    // Complete subtrees from left to right, each larger than the next: the tree adds them from the right.
    std::vector<Block> all = take_all();
    while (all.size() > 1) {
      const Block right = all.back();
      all.pop_back();
      all.back() = add(all.back(), right);
    }
    put(all.front());
  }
  /// This stands alone until its sibling comes.
  void put(const Block& block) { blocks_.push_back(block); }
  /// Blocks that stand alone, by place; none afterwards.
  std::vector<Block> take_all();
  bool empty() const { return blocks_.empty(); }

  /// The buffers that a version of so many leaves needs at the most, where leaves come in the order of their places.
  static std::int64_t most(std::int64_t leaves);

 private:
  std::vector<Block> blocks_;
};

}  // namespace dptrain

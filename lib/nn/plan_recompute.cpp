#include <algorithm>

#include "nn/network.h"

namespace dptrain {

namespace {

constexpr std::int64_t kCacheLine = 64;

/// Which of a block's stages backward needs once more: those whose outputs it reads, and those from which they come.
/// What lies in a block inside of it is that one's business, but for what goes in and what comes out.
class Recomputation {
 public:
  Recomputation(const Network& network, std::size_t block)
      : network_(network),
        block_(network.recomputed[block]),
        inside_(network.stages.size(), kNone),
        needed_(network.stages.size(), false) {
    for (std::size_t b = 0; b < block; ++b) {
      const Recomputed& other = network.recomputed[b];
      if (other.first < block_.first || other.depth != block_.depth + 1) continue;
      std::fill(inside_.begin() + static_cast<std::ptrdiff_t>(other.first),
                inside_.begin() + static_cast<std::ptrdiff_t>(other.last), static_cast<int>(b));
    }
  }

  std::vector<std::size_t> stages() {
    std::vector<std::size_t> all;
    for (std::size_t s = block_.last; s-- > block_.first;) {
      const Stage& stage = network_.stages[s];
      needed_[s] = is_needed(s);
      if (needed_[s] && (stage.layer != nullptr || stage.other != kNone)) all.push_back(s);
    }
    std::reverse(all.begin(), all.end());
    return all;
  }

 private:
  bool is_needed(std::size_t s) const {
    const Stage& stage = network_.stages[s];
    if (is_own(s) && stage.layer != nullptr && stage.layer->backward_reads_output() && !is_there(stage.output))
      return true;
    for (std::size_t t = s + 1; t < block_.last; ++t) {
      const Stage& reader = network_.stages[t];
      if (reader.input != stage.output && reader.other != stage.output) continue;
      // A block inside starts from its input once more.
      if (needed_[t] || (is_own(t) ? reads_input(reader) : inside_[t] != inside_[s])) return true;
    }
    return false;
  }
  /// What the block puts out, unless a block around it lets go of that.
  bool is_there(int place) const {
    return place == block_.output && network_.blocks[static_cast<std::size_t>(place)] == kNone;
  }
  bool is_own(std::size_t s) const { return inside_[s] == kNone; }
  static bool reads_input(const Stage& stage) {
    return stage.layer != nullptr ? stage.layer->backward_reads_input() : stage.rectified != kNone;
  }

  const Network& network_;
  const Recomputed& block_;
  std::vector<int> inside_;  // by stage: the outermost block inside of this one that it is in
  std::vector<bool> needed_;
};

}  // namespace

void plan_recompute(Network& network) {
  network.blocks.assign(network.places.size(), kNone);
  // Blocks inside others come before them.
  for (std::size_t b = 0; b < network.recomputed.size(); ++b) {
    const Recomputed& block = network.recomputed[b];
    for (int place = block.first_place; place < block.last_place; ++place) {
      int& owner = network.blocks[static_cast<std::size_t>(place)];
      if (owner == kNone && place != block.output) owner = static_cast<int>(b);
    }
  }
  for (std::size_t b = 0; b < network.recomputed.size(); ++b) {
    const Recomputed& block = network.recomputed[b];
    Stage& last = network.stages[block.last - 1];
    if (!last.output_has_gradient) continue;
    const std::vector<std::size_t> again = Recomputation(network, b).stages();
    last.again.insert(last.again.begin(), again.begin(), again.end());  // before those of a block inside
  }
}

PlaceOffsets place_offsets(const Network& network, std::int64_t batch) {
  const std::size_t places = network.places.size();
  const auto bytes_of = [&](std::size_t place) {
    return (network.places[place] * batch + kCacheLine - 1) / kCacheLine * kCacheLine;
  };
  PlaceOffsets all{std::vector<std::int64_t>(places), 0};
  for (std::size_t place = 1; place < places; ++place) {
    if (network.blocks[place] != kNone) continue;
    all.offsets[place] = all.bytes;
    all.bytes += bytes_of(place);
  }
  for (int depth = 0, left = static_cast<int>(network.recomputed.size()); left > 0; ++depth) {
    std::int64_t most = 0;
    for (std::size_t b = 0; b < network.recomputed.size(); ++b) {
      const Recomputed& block = network.recomputed[b];
      if (block.depth != depth) continue;
      std::int64_t bytes = 0;
      for (int place = block.first_place; place < block.last_place; ++place) {
        const auto p = static_cast<std::size_t>(place);
        if (network.blocks[p] != static_cast<int>(b)) continue;
        all.offsets[p] = all.bytes + bytes;
        bytes += bytes_of(p);
      }
      most = std::max(most, bytes);
      --left;
    }
    all.bytes += most;
  }
  return all;
}

}  // namespace dptrain

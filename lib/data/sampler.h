// Purpose: the global, seeded order of a dataset's samples in an epoch, a pure function (seed, epoch, position) ->
//   sample id. No list is kept or shuffled, so any replica can ask for any part of any epoch, and going on with a run
//   needs no state.
// Thread safety: immutable; any number of threads. Invariants: an epoch has every id at exactly one position.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/philox.h"

namespace dptrain {

class Sampler {
 public:
  /// `samples` is at least 1. Without `shuffle` the order is 0, 1, 2, ... in every epoch.
  Sampler(std::int64_t samples, std::uint64_t seed, bool shuffle);

  /// Writes the ids at positions [first, first + ids.size()) of the epoch's order, which must lie in [0, samples()).
  /// Each id of [0, samples()) stands at exactly one position. No allocation.
  void order(std::int64_t epoch, std::int64_t first, std::span<std::int64_t> ids) const;

 private:
  static constexpr std::size_t kLanes = 16;
  void permute(const RandomStream& stream, std::array<std::uint64_t, kLanes>& value) const;

  std::int64_t samples_;
  std::uint64_t seed_;
  bool shuffle_;
  int left_bits_, right_bits_;  // of a position; together the fewest that hold samples - 1
};

/// `count` of the ids [0, samples), in ascending order: some that speak for all of them. They are drawn at random, as
/// classes may come in turn and each so-manieth sample be of one class, but always the same ones.
std::vector<std::int64_t> some_samples(std::int64_t samples, std::int64_t count);

}  // namespace dptrain

#include "data/sampler.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "core/error.h"

namespace dptrain {
namespace {

/// Few bits need many rounds before every sample stands everywhere equally often (6 are visibly too few below 64
/// samples, 8 are enough from there on; the tests measure it).
constexpr int kFewBits = 7;
constexpr int kRounds = 8, kRoundsOfFewBits = 24;

}  // namespace

Sampler::Sampler(std::int64_t samples, std::uint64_t seed, bool shuffle)
    : samples_(samples), seed_(seed), shuffle_(shuffle) {
  DPTRAIN_CHECK(samples >= 1, "a sampler of {} samples", samples);
  const int bits = std::bit_width(static_cast<std::uint64_t>(samples - 1));
  left_bits_ = (bits + 1) / 2;
  right_bits_ = bits / 2;
}

// A Feistel network: each round changes one half of the position's bits by a random function of the other half, which
// can be undone, so the whole is a bijection of [0, 2^bits). Where the result is not below samples(), the network is
// applied again ("cycle walking"): following a cycle of a bijection from a point inside, back to the next point inside,
// is a bijection of [0, samples()). As 2^bits < 2 samples(), that takes fewer than two goes on average.
//
// Lanes of positions go through a round together, so that the compiler makes vectors of them; a lane that is done
// waits.
void Sampler::order(std::int64_t epoch, std::int64_t first, std::span<std::int64_t> ids) const {
  DPTRAIN_CHECK(first >= 0 && first + static_cast<std::int64_t>(ids.size()) <= samples_,
                "positions [{}, {}) of an order of {}", first, first + static_cast<std::int64_t>(ids.size()), samples_);
  std::iota(ids.begin(), ids.end(), first);
  if (!shuffle_ || samples_ == 1) return;

  const RandomStream stream(seed_, RandomPurpose::shuffle, 0, static_cast<std::uint64_t>(epoch));
  const std::uint64_t samples = static_cast<std::uint64_t>(samples_);
  std::array<std::size_t, kLanes> place = {};  // in ids, of each lane that walks
  std::array<std::uint64_t, kLanes> value = {};
  std::size_t walking = 0, next = 0;
  while (walking > 0 || next < ids.size()) {
    for (; walking < kLanes && next < ids.size(); ++walking, ++next) {
      place[walking] = next;
      value[walking] = static_cast<std::uint64_t>(ids[next]);
    }
    permute(stream, value);
    std::size_t kept = 0;
    for (std::size_t lane = 0; lane < walking; ++lane) {
      if (value[lane] < samples) {
        ids[place[lane]] = static_cast<std::int64_t>(value[lane]);
      } else {
        place[kept] = place[lane];
        value[kept++] = value[lane];
      }
    }
    walking = kept;
  }
}

void Sampler::permute(const RandomStream& stream, std::array<std::uint64_t, kLanes>& value) const {
  // No half has more than 32 bits, as samples() fits in 63.
  const auto low_bits = [](int bits) { return static_cast<std::uint32_t>((std::uint64_t{1} << bits) - 1); };
  const std::uint32_t left_mask = low_bits(left_bits_), right_mask = low_bits(right_bits_);
  std::array<std::uint32_t, kLanes> left, right;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    left[lane] = static_cast<std::uint32_t>(value[lane] >> right_bits_);
    right[lane] = static_cast<std::uint32_t>(value[lane]) & right_mask;
  }
  const auto change = [&](std::array<std::uint32_t, kLanes>& half, std::uint32_t mask,
                          const std::array<std::uint32_t, kLanes>& by, int round) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      half[lane] ^= stream.block(static_cast<std::uint64_t>(round), by[lane])[0] & mask;
    }
  };
  const int rounds = left_bits_ + right_bits_ <= kFewBits ? kRoundsOfFewBits : kRounds;
  for (int round = 0; round < rounds; round += 2) {
    change(left, left_mask, right, round);
    change(right, right_mask, left, round + 1);
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane)
    value[lane] = std::uint64_t{left[lane]} << right_bits_ | right[lane];
}

std::vector<std::int64_t> some_samples(std::int64_t samples, std::int64_t count) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
  constexpr std::uint64_t kSeed = 0;
  Sampler(samples, kSeed, true).order(0, 0, ids);
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace dptrain

#include "data/sampler.h"

#include <bit>

#include "core/error.h"
#include "core/philox.h"

namespace dptrain {
namespace {

constexpr int kRounds = 6;

}  // namespace

Sampler::Sampler(std::int64_t samples, std::uint64_t seed, bool shuffle) : samples_(samples), seed_(seed), shuffle_(shuffle) {
  DPTRAIN_CHECK(samples >= 1, "a sampler of {} samples", samples);
  const int bits = std::bit_width(static_cast<std::uint64_t>(samples - 1));
  left_bits_ = (bits + 1) / 2;
  right_bits_ = bits / 2;
}

// A Feistel network: each round changes one half of the position's bits by a random function of the other half, which
// can be undone, so the whole is a bijection of [0, 2^bits). Where the result is not below samples(), the network is applied
// again ("cycle walking"): following a cycle of a bijection from a point inside, back to the next point inside, is
// a bijection of [0, samples()). As 2^bits < 2 samples(), that takes fewer than two goes on average.
void Sampler::order(std::int64_t epoch, std::int64_t first, std::span<std::int64_t> ids) const {
  DPTRAIN_CHECK(first >= 0 && first + static_cast<std::int64_t>(ids.size()) <= samples_,
                "positions [{}, {}) of an order of {}", first, first + static_cast<std::int64_t>(ids.size()), samples_);
  const RandomStream stream(seed_, RandomPurpose::shuffle, 0, static_cast<std::uint64_t>(epoch));
  const std::uint64_t left_mask = (std::uint64_t{1} << left_bits_) - 1, right_mask = (std::uint64_t{1} << right_bits_) - 1;
  const auto word = [&](int round, std::uint64_t half) {
    const auto block = stream.block(static_cast<std::uint64_t>(round), half);
    return std::uint64_t{block[0]} << 32 | block[1];
  };

  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::uint64_t value = static_cast<std::uint64_t>(first) + i;
    if (shuffle_ && samples_ > 1) {
      do {
        std::uint64_t left = value >> right_bits_, right = value & right_mask;
        for (int round = 0; round < kRounds; round += 2) {
          left ^= word(round, right) & left_mask;
          right ^= word(round + 1, left) & right_mask;
        }
        value = left << right_bits_ | right;
      } while (value >= static_cast<std::uint64_t>(samples_));
    }
    ids[i] = static_cast<std::int64_t>(value);
  }
}

}  // namespace dptrain

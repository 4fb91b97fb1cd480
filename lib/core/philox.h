// Purpose: the project's only source of randomness: Philox4x32-10, a counter-based generator
//   (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). A draw is a pure function of
//   (seed, purpose, layer, step or epoch, item, index), so it is the same on every replica, thread, memory layout and
//   device.
// Thread safety: pure functions.
#pragma once

#include <array>
#include <cstdint>

namespace dptrain {

/// What a random number is for; part of its key, so that no two uses share numbers. Never renumber.
enum class RandomPurpose : std::uint32_t {
  initialise = 1,  ///< layer = layer index, item = parameter index in the layer, index = canonical element
  dropout = 2,     ///< layer, step, item = sample id, index = logical element
  shuffle = 3,     ///< step = epoch, item = round of the permutation
  generate = 4,    ///< item = index of a generated sample
  augment = 5,     ///< step = epoch, item = sample id
  test = 6,
};

/// One block: four 32-bit words for a 128-bit counter under a 64-bit key.
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
               static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

/// The stream of numbers for one (seed, purpose, layer, step). The 64-bit key is itself two Philox blocks of those, so
/// that streams which differ in any of them are unrelated.
class RandomStream {
 public:
  constexpr RandomStream(std::uint64_t seed, RandomPurpose purpose, std::uint32_t layer = 0, std::uint64_t step = 0) {
    const auto low = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    const auto high = [](std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); };
    const auto mixed =
        philox4x32({low(step), high(step), layer, static_cast<std::uint32_t>(purpose)}, {low(seed), high(seed)});
    key_ = {mixed[0] ^ mixed[2], mixed[1] ^ mixed[3]};
  }

  /// Four words: block `block` of item `item`.
  constexpr std::array<std::uint32_t, 4> block(std::uint64_t item, std::uint64_t block) const {
    return philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                       static_cast<std::uint32_t>(item), static_cast<std::uint32_t>(item >> 32)},
                      key_);
  }
  /// 32 random bits: element `index` of item `item`.
  constexpr std::uint32_t bits(std::uint64_t item, std::uint64_t index) const {
    return block(item, index / 4)[index % 4];
  }
  /// Uniform in [0, 1), a multiple of 2^-24.
  constexpr float uniform(std::uint64_t item, std::uint64_t index) const {
    return static_cast<float>(bits(item, index) >> 8) * 0x1p-24f;
  }

  constexpr std::array<std::uint32_t, 2> key() const { return key_; }

 private:
  std::array<std::uint32_t, 2> key_{};
};

}  // namespace dptrain

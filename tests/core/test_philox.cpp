// Philox4x32-10 against the known answers published with Random123 (kat_vectors), and RandomStream's rules.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <set>

#include "core/philox.h"

using namespace dptrain;

using Words = std::array<std::uint32_t, 4>;

TEST_CASE("philox4x32-10 gives the published answers") {
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  static_assert(philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5);
}

TEST_CASE("a stream's numbers are words of its blocks") {
  CHECK(rc::check([](std::uint64_t seed, std::uint64_t step, std::uint64_t item, std::uint64_t index) {
    const RandomStream stream(seed, RandomPurpose::test, 3, step);
    RC_ASSERT(stream.bits(item, index) == stream.block(item, index / 4)[index % 4]);
    const float uniform = stream.uniform(item, index);
    RC_ASSERT(uniform >= 0.0f && uniform < 1.0f);
    RC_ASSERT(uniform * 0x1p24f == static_cast<float>(stream.bits(item, index) >> 8));
  }));
}

TEST_CASE("every part of a key changes the numbers") {
  const std::uint64_t high = std::uint64_t{1} << 32;  // the upper halves count too
  std::set<std::array<std::uint32_t, 2>> keys;
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, high}) {
    for (const RandomPurpose purpose : {RandomPurpose::initialise, RandomPurpose::dropout, RandomPurpose::test}) {
      for (const std::uint32_t layer : {0u, 1u}) {
        for (const std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, high}) {
          keys.insert(RandomStream(seed, purpose, layer, step).key());
        }
      }
    }
  }
  CHECK(keys.size() == 3 * 3 * 2 * 3);
  const RandomStream stream(1, RandomPurpose::test);
  std::set<Words> blocks;
  for (const std::uint64_t item : {std::uint64_t{0}, std::uint64_t{1}, high}) {
    for (const std::uint64_t block : {std::uint64_t{0}, std::uint64_t{1}, high})
      blocks.insert(stream.block(item, block));
  }
  CHECK(blocks.size() == 9);
}

TEST_CASE("the numbers of a seed never change") {
  // Runs are resumed and compared across builds: these are part of what a seed means.
  const RandomStream stream(1, RandomPurpose::initialise, 2, 3);
  CHECK(stream.key() == RandomStream(1, static_cast<RandomPurpose>(1), 2, 3).key());
  const Words mixed = philox4x32({3, 0, 2, 1}, {1, 0});
  CHECK(stream.key() == std::array<std::uint32_t, 2>{mixed[0] ^ mixed[2], mixed[1] ^ mixed[3]});
  CHECK(stream.bits(7, 9) == philox4x32({2, 0, 7, 0}, stream.key())[1]);
}

TEST_CASE("uniform numbers are spread evenly") {
  const RandomStream stream(5, RandomPurpose::test);
  constexpr int kDraws = 64000, kBins = 64;
  int counts[kBins] = {};
  for (std::uint64_t i = 0; i < kDraws; ++i) ++counts[static_cast<int>(stream.uniform(i % 10, i / 10) * kBins)];
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 1000.0) * (count - 1000.0) / 1000.0;
  CHECK(chi_squared > 25);   // 63 degrees of freedom: 1e-6 of all streams lie below,
  CHECK(chi_squared < 130);  // and about as many above
}

// The streaming hash against the library's one-shot function, and two constants so that neither can change unseen.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <rapidcheck.h>
#include <xxhash.h>

#include "core/hash.h"

using namespace dptrain;

namespace {

std::string one_shot(const std::string& bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string streamed(const std::string& bytes) {
  Hash128 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

}  // namespace

TEST_CASE("known values") {
  CHECK(Hash128().hex() == "99aa06d3014798d86001c324468d497f");  // of no bytes
  CHECK(streamed("") == Hash128().hex());
  CHECK(streamed("abc") == "06b05ab6733a618578af5f94892f3950");
}

TEST_CASE("any cut into pieces gives the one-shot hash") {
  CHECK(rc::check([] {
    // Lengths on both sides of the hash's internal thresholds: 16, 128, 240 bytes, blocks of 1024.
    std::string bytes(
        *rc::gen::elementOf(std::vector<std::size_t>{0, 1, 15, 17, 127, 129, 241, 255, 257, 1023, 1025, 5000}), ' ');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 131 + 7);
    Hash128 hash;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t piece = *rc::gen::inRange<std::size_t>(1, std::min<std::size_t>(bytes.size() - at, 700) + 1);
      hash.update(bytes.data() + at, piece);
      at += piece;
      RC_ASSERT(hash.hex() == one_shot(bytes.substr(0, at)));  // reading it does not end it
    }
    RC_ASSERT(hash.hex() == one_shot(bytes));
  }));
}

TEST_CASE("one bit changes the hash") {
  std::string bytes(300, 'x');
  const std::string before = streamed(bytes);
  bytes[299] ^= 1;
  CHECK(streamed(bytes) != before);
}

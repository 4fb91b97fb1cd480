#include <algorithm>

#include "core/philox.h"
#include "kernels/cpu/elements.h"
#include "kernels/cpu/operations.h"

namespace dptrain::cpu {

namespace {

/// Survival of the 4 * kLanes elements from element 4 * first_block on. Philox runs over lanes, each with a counter of
/// its own, in loops that vectorise; the numbers are RandomStream::block's. The 32-bit words are kept in 64 bits,
/// because that is what their products need.
constexpr int kLanes = 32;  // with fewer, GCC unrolls the loops and then fails to vectorise them: seven times slower

void survive(std::array<std::uint32_t, 2> stream_key, std::uint64_t item, std::uint64_t first_block,
             std::uint32_t threshold, std::uint8_t* out) {
  constexpr std::uint64_t kLow = 0xFFFFFFFF;
  std::uint64_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::uint64_t block = first_block + static_cast<std::uint64_t>(lane);
    c0[lane] = block & kLow;
    c1[lane] = block >> 32;
    c2[lane] = item & kLow;
    c3[lane] = item >> 32;
  }
  std::uint32_t k0 = stream_key[0], k1 = stream_key[1];
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const std::uint64_t p0 = 0xD2511F53 * c0[lane], p1 = 0xCD9E8D57 * c2[lane];
      c0[lane] = (p1 >> 32) ^ c1[lane] ^ k0;
      c2[lane] = (p0 >> 32) ^ c3[lane] ^ k1;
      c1[lane] = p1 & kLow;
      c3[lane] = p0 & kLow;
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    out[4 * lane + 0] = c0[lane] >= threshold;
    out[4 * lane + 1] = c1[lane] >= threshold;
    out[4 * lane + 2] = c2[lane] >= threshold;
    out[4 * lane + 3] = c3[lane] >= threshold;
  }
}

/// One sample's mask in logical order.
void draw_sample(const RandomStream& stream, std::uint64_t item, std::uint32_t threshold, std::int64_t elements,
                 std::uint8_t* mask) {
  constexpr std::int64_t kStride = 4 * kLanes;
  std::int64_t e = 0;
  for (; e + kStride <= elements; e += kStride)
    survive(stream.key(), item, static_cast<std::uint64_t>(e / 4), threshold, mask + e);
  if (e == elements) return;
  std::uint8_t last[kStride];
  survive(stream.key(), item, static_cast<std::uint64_t>(e / 4), threshold, last);
  std::copy_n(last, elements - e, mask + e);
}

}  // namespace

void dropout_mask(const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples, std::uint8_t* mask) {
  const RandomStream stream(draw.seed, RandomPurpose::dropout, draw.layer, static_cast<std::uint64_t>(*draw.step));
  const auto threshold = static_cast<std::uint32_t>(draw.probability * 0x1p32);
  for (std::int64_t s = 0; s < samples; ++s) {
    const auto item = static_cast<std::uint64_t>(ids[s]);
    if (draw.element_of_place == nullptr) {
      draw_sample(stream, item, threshold, draw.elements, mask);
      mask += draw.elements;
      continue;
    }
    draw_sample(stream, item, threshold, draw.elements, draw.scratch);
    draw.scratch[draw.elements] = 0;
    for (std::int64_t place = 0; place < draw.places; ++place) *mask++ = draw.scratch[draw.element_of_place[place]];
  }
}

void dropout_apply(const std::uint8_t* mask, std::int64_t count, float scale, ElementType type, const void* x,
                   void* y) {
  with_element(type, [&]<class Element>(Element) {
    const auto* from = static_cast<const Element*>(x);
    auto* to = static_cast<Element*>(y);
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      const float scaled =
          static_cast<float>(from[i]) * scale;  // before the choice, so that the choice needs no branch
      to[i] = Element(mask[i] != 0 ? scaled : 0.0f);
    }
  });
}

}  // namespace dptrain::cpu

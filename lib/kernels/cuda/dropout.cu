#include "core/host_device.h"
#include "core/philox.h"
#include "kernels/cuda/dropout.h"
#include "kernels/cuda/elements.h"
#include "kernels/cuda/launch.h"

namespace dptrain::cuda {
namespace {

struct Drawn {
  const std::int64_t *step, *ids;
  std::uint64_t seed;
  std::uint32_t layer, threshold;

  DPTRAIN_HD RandomStream stream() const {
    return {seed, RandomPurpose::dropout, layer, static_cast<std::uint64_t>(*step)};
  }
  DPTRAIN_HD std::uint64_t item(std::int64_t sample) const { return static_cast<std::uint64_t>(ids[sample]); }
};

/// Four elements of a sample at a time: as many as a block of random numbers has.
struct MaskElements {
  Drawn drawn;
  std::uint8_t* mask;
  std::int64_t elements, blocks;  // of a sample
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t sample = i / blocks, block = i % blocks;
    const auto words = drawn.stream().block(drawn.item(sample), static_cast<std::uint64_t>(block));
    std::uint8_t* out = mask + sample * elements + 4 * block;
    const std::int64_t left = elements - 4 * block;
    if (left > 0) out[0] = words[0] >= drawn.threshold;
    if (left > 1) out[1] = words[1] >= drawn.threshold;
    if (left > 2) out[2] = words[2] >= drawn.threshold;
    if (left > 3) out[3] = words[3] >= drawn.threshold;
  }
};

/// Neighbours in memory are no neighbours among the elements, so that each place draws a block for itself.
struct MaskPlaces {
  Drawn drawn;
  const std::int32_t* element_of_place;
  std::uint8_t* mask;
  std::int64_t elements, places;  // of a sample
  DPTRAIN_HD void operator()(std::int64_t i) const {
    const std::int64_t element = element_of_place[i % places];
    const auto words = drawn.stream().block(drawn.item(i / places), static_cast<std::uint64_t>(element / 4));
    const std::int64_t lane = element % 4;
    const std::uint32_t word = lane < 2 ? (lane == 0 ? words[0] : words[1]) : (lane == 2 ? words[2] : words[3]);
    mask[i] = element < elements && word >= drawn.threshold;
  }
};

template <class Element>
struct Apply {
  const std::uint8_t* mask;
  const Element* x;
  Element* y;
  float scale;
  DPTRAIN_HD void operator()(std::int64_t i) const { store(y[i], mask[i] != 0 ? wide(x[i]) * scale : 0.0f); }
};

}  // namespace

void dropout_mask(const Context& context, const DropoutDraw& draw, const std::int64_t* ids, std::int64_t samples,
                  std::uint8_t* mask) {
  const Drawn drawn{draw.step, ids, draw.seed, draw.layer, static_cast<std::uint32_t>(draw.probability * 0x1p32)};
  if (draw.element_of_place == nullptr) {
    const std::int64_t blocks = (draw.elements + 3) / 4;
    for_each(samples * blocks, context.stream, MaskElements{drawn, mask, draw.elements, blocks});
  } else {
    for_each(samples * draw.places, context.stream,
             MaskPlaces{drawn, draw.element_of_place, mask, draw.elements, draw.places});
  }
}

void dropout_apply(const Context& context, const std::uint8_t* mask, std::int64_t count, float scale, ElementType type,
                   const void* x, void* y) {
  with_element(type, [&]<class Element>(Element) {
    for_each(count, context.stream, Apply<Element>{mask, elements<Element>(x), elements<Element>(y), scale});
  });
}

}  // namespace dptrain::cuda

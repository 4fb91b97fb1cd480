// Dropout's masks are RandomStream's numbers, whatever the batch, the tail of the elements and the layout.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <numeric>

#include "core/philox.h"
#include "kernels/kernels.h"
#include "support/gradient_check.h"
#include "support/layer_bench.h"

using namespace dptrain;
using namespace dptrain::testing;

namespace {

std::vector<std::uint8_t> mask_of(std::uint64_t seed, std::uint32_t layer, std::int64_t step,
                                  std::span<const std::int64_t> ids, std::int64_t elements, double probability) {
  // One byte more than needed, which must stay as it is.
  std::vector<std::uint8_t> mask(ids.size() * static_cast<std::size_t>(elements) + 1, 99);
  make_cpu_kernels()->dropout_mask({.seed = seed,
                                    .layer = layer,
                                    .step = &step,
                                    .probability = probability,
                                    .elements = elements,
                                    .places = elements},
                                   ids.data(), static_cast<std::int64_t>(ids.size()), mask.data());
  CHECK(mask.back() == 99);
  mask.pop_back();
  return mask;
}

}  // namespace

TEST_CASE("each element's survival is a number of the stream against the probability") {
  CHECK(rc::check([](std::uint64_t seed, std::uint32_t layer) {
    const auto elements = *rc::gen::inRange<std::int64_t>(1, 300);  // with and without a tail behind blocks of 64
    const auto step = *rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40);
    const auto ids = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, std::int64_t{1} << 40)));
    const double probability = *rc::gen::elementOf(std::vector<double>{0, 1e-9, 0.1, 0.5, 0.9, 0.999999999999});
    const std::vector<std::uint8_t> mask = mask_of(seed, layer, step, ids, elements, probability);
    const RandomStream stream(seed, RandomPurpose::dropout, layer, static_cast<std::uint64_t>(step));
    for (std::size_t s = 0; s < ids.size(); ++s) {
      for (std::int64_t e = 0; e < elements; ++e) {
        const bool kept =
            static_cast<double>(stream.bits(static_cast<std::uint64_t>(ids[s]), static_cast<std::uint64_t>(e))) >=
            std::floor(probability * 0x1p32);
        RC_ASSERT(mask[s * static_cast<std::size_t>(elements) + static_cast<std::size_t>(e)] == (kept ? 1 : 0));
      }
    }
  }));
}

TEST_CASE("a sample's mask does not depend on the batch around it") {
  std::vector<std::int64_t> ids(40);
  std::iota(ids.begin(), ids.end(), 500);
  const auto together = mask_of(3, 2, 7, ids, 77, 0.5);
  for (std::size_t s = 0; s < ids.size(); ++s) {
    const auto alone = mask_of(3, 2, 7, std::span(ids).subspan(s, 1), 77, 0.5);
    CHECK(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<std::ptrdiff_t>(s * 77)));
  }
  CHECK(together != mask_of(4, 2, 7, ids, 77, 0.5));
  CHECK(together != mask_of(3, 3, 7, ids, 77, 0.5));
  CHECK(together != mask_of(3, 2, 8, ids, 77, 0.5));
}

TEST_CASE("the share that survives is 1 - p") {
  std::vector<std::int64_t> ids(100);
  std::iota(ids.begin(), ids.end(), 0);
  for (const double probability : {0.1, 0.5, 0.8}) {
    const auto mask = mask_of(1, 0, 0, ids, 1000, probability);
    const double kept = std::accumulate(mask.begin(), mask.end(), 0.0) / 1e5;
    CHECK(std::abs(kept - (1 - probability)) <
          5 * std::sqrt(probability * (1 - probability) / 1e5));  // five deviations
  }
  const auto all = mask_of(1, 0, 0, ids, 1000, 0);
  CHECK(std::accumulate(all.begin(), all.end(), 0) == 100000);
}

TEST_CASE("layouts hold the same values in other places, scaled, with zero padding") {
  for (const std::int64_t channels : {1, 5, 16, 20, 50}) {
    const Shape shape{channels, 3, 5};
    Draws draws(9);
    const std::vector<float> x = draws.away_from_zero(4 * shape.elements(), 0.5f),
                             dy = draws.away_from_zero(4 * shape.elements(), 0.5f);
    std::vector<float> first, first_gradient;
    for (const Layout& layout : all_layouts(shape)) {
      LayerBench bench({DropoutSpec{0.4}, {}}, shape,
                       {.layout = layout, .batches = {4}, .fused = {}, .seed = 11, .index = 3});
      const std::vector<float> y = bench.forward(x), dx = bench.backward(dy).dx;
      for (std::size_t i = 0; i < y.size(); ++i) {
        const bool kept = y[i] != 0;
        CHECK(y[i] == (kept ? x[i] * static_cast<float>(1 / 0.6) : 0.0f));
        CHECK(dx[i] == (kept ? dy[i] * static_cast<float>(1 / 0.6) : 0.0f));
      }
      if (first.empty()) first = y;
      CHECK(y == first);

      LayerBench evaluation({DropoutSpec{0.4}, {}}, shape,
                            {.layout = layout, .batches = {4}, .fused = {}, .training = false});
      CHECK(evaluation.forward(x) == x);
    }
  }
}

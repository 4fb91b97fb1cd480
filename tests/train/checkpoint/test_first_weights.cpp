// The images that the first filters are made of.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "support/memory_dataset.h"
#include "train/checkpoint/first_weights.h"

namespace dptrain {

TEST_CASE("filters that whiten are made of images of all classes, each once and always the same ones") {
  Parameter filters;
  filters.desc.shape = Shape{2, 1, 1, 1};
  filters.desc.stored_floats = 2;
  filters.desc.role = ParameterRole::weight;
  filters.desc.init = Initialiser::whiten;
  const ParameterTable table({filters});
  // 4096 images have a million patches. Datasets come interleaved by class: 0, 1, 0, 1, ...
  for (const std::int64_t size : {3000, 4096, 8192, 16384}) {
    CAPTURE(size);
    test::MemoryDataset train(size, Shape{1, 16, 16}, 2, 1);
    std::vector<std::vector<std::int64_t>> rounds(2);
    for (std::vector<std::int64_t>& asked : rounds) {
      train.on_gather = [&](std::span<const std::int64_t> ids) { asked.insert(asked.end(), ids.begin(), ids.end()); };
      std::vector<float> flat(static_cast<std::size_t>(table.floats()));
      seed_weights(table, 1, train, flat.data());
    }
    const std::vector<std::int64_t>& asked = rounds[0];
    const auto expected = static_cast<std::size_t>(std::min<std::int64_t>(size, 4096));
    CHECK(rounds[1] == asked);
    CHECK(asked.size() == expected);
    CHECK(std::set<std::int64_t>(asked.begin(), asked.end()).size() == expected);
    const auto even = std::count_if(asked.begin(), asked.end(), [](std::int64_t id) { return id % 2 == 0; });
    CHECK(std::abs(static_cast<double>(even) / static_cast<double>(expected) - 0.5) < 0.05);
    const auto early = std::count_if(asked.begin(), asked.end(), [&](std::int64_t id) { return id < size / 2; });
    CHECK(std::abs(static_cast<double>(early) / static_cast<double>(expected) - 0.5) < 0.05);
  }
}

}  // namespace dptrain

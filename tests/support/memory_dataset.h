// Purpose: a dataset of random bytes in memory, with a hook for tests that want it slow or failing.
// Thread safety: as Dataset; the hook is called from whichever thread gathers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/dataset.h"

namespace dptrain::test {

class MemoryDataset : public Dataset {
 public:
  MemoryDataset(std::int64_t size, Shape shape, std::int64_t classes, std::uint64_t seed)
      : size_(size), shape_(shape), classes_(classes), bytes_(static_cast<std::size_t>(size * shape.elements())) {
    std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (std::uint8_t& byte : bytes_) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::uint8_t>(state >> 56);
    }
  }

  std::int64_t size() const override { return size_; }
  const Shape& shape() const override { return shape_; }
  std::int64_t classes() const override { return classes_; }
  /// A sample's label says something about its values, so that there is something to learn.
  std::int32_t label(std::int64_t id) const {
    return static_cast<std::int32_t>(bytes_[static_cast<std::size_t>(id * shape_.elements())] % classes_);
  }
  void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const override {
    if (on_gather) on_gather(ids);
    const std::int64_t elements = shape_.elements();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::uint8_t* sample = bytes_.data() + ids[i] * elements;
      for (std::int64_t k = 0; k < elements; ++k) *out++ = static_cast<float>(sample[k]) * scale - 0.5f;
      labels[i] = label(ids[i]);
    }
  }

  void gather_augmented(std::span<const std::int64_t> ids, const RandomStream&, float* out,
                        std::int32_t* labels) const override {
    if (on_train) on_train(ids);
    gather(ids, out, labels);
  }

  std::function<void(std::span<const std::int64_t>)> on_gather;
  std::function<void(std::span<const std::int64_t>)> on_train;  ///< before that, of what is gathered to train on
  float scale = 1.0f / 255;

 private:
  std::int64_t size_;
  Shape shape_;
  std::int64_t classes_;
  std::vector<std::uint8_t> bytes_;
};

inline DatasetPair memory_pair(std::int64_t train, std::int64_t test, const Shape& shape, std::int64_t classes,
                               std::uint64_t seed = 1) {
  return {std::make_unique<MemoryDataset>(train, shape, classes, seed),
          std::make_unique<MemoryDataset>(test, shape, classes, seed + 1), "memory", "generated"};
}

}  // namespace dptrain::test

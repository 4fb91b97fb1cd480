// Purpose: samples that lie in memory as bytes, one a value, normalised as they are gathered.
// Thread safety: as Dataset. Invariants: every label is in [0, classes).
#pragma once

#include <vector>

#include "data/byte_block.h"
#include "data/dataset.h"
#include "data/measure.h"
#include "data/normalise.h"

namespace dptrain {

class ImageDataset final : public Dataset {
 public:
  /// `pixels` and `labels` may hold more than `size` samples; the first `size` are used.
  /// `shape` is (C, H, W) or (F); `normalisation` has one entry a channel, std above 0.
  ImageDataset(ByteBlock pixels, ByteBlock labels, std::int64_t size, Shape shape, std::int64_t classes,
               const Normalisation& normalisation);

  std::int64_t size() const override { return size_; }
  const Shape& shape() const override { return shape_; }
  std::int64_t classes() const override { return classes_; }
  void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const override;
  const ByteSamples* as_bytes() const override { return &as_bytes_; }

 private:
  ByteBlock pixels_, labels_;
  std::int64_t size_;
  Shape shape_;
  std::int64_t classes_;
  std::int64_t channels_, plane_;  // values a channel
  BytesToFloats by_;
  ByteSamples as_bytes_;  // of the members above
};

}  // namespace dptrain

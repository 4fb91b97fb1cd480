// Purpose: samples as bytes, (channels, height, width), whether they lie in memory or are decoded when asked for.
// Thread safety: const methods from any number of threads at once, each with a scratch of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"
#include "data/byte_block.h"
#include "data/images/image.h"
#include "data/images/resample.h"

namespace dptrain {

/// Memory that serves again.
struct DecodeScratch {
  std::vector<std::uint8_t> file, pixels;
  Image image;
  Resampler resampler;
};

struct StoredImage {
  const std::uint8_t* pixels = nullptr;  ///< in the source's memory, or in the scratch
  std::int32_t label = 0;
};

class ImageSource {
 public:
  virtual ~ImageSource() = default;
  virtual std::int64_t size() const = 0;
  virtual const Shape& shape() const = 0;
  virtual std::int64_t classes() const = 0;
  /// Errors (data): the sample cannot be read; its file or member is named.
  virtual StoredImage read(std::int64_t id, DecodeScratch& scratch) const = 0;
  /// Whether reading is work that threads ahead of the replicas should do.
  virtual bool decodes() const = 0;
};

/// All samples in memory; the blocks may hold more than `size`.
class MemoryImages final : public ImageSource {
 public:
  MemoryImages(ByteBlock pixels, ByteBlock labels, std::int64_t size, Shape shape, std::int64_t classes)
      : pixels_(std::move(pixels)),
        labels_(std::move(labels)),
        size_(size),
        shape_(std::move(shape)),
        classes_(classes) {}

  std::int64_t size() const override { return size_; }
  const Shape& shape() const override { return shape_; }
  std::int64_t classes() const override { return classes_; }
  StoredImage read(std::int64_t id, DecodeScratch&) const override {
    return {pixels_.data() + id * shape_.elements(), labels_.data()[id]};
  }
  bool decodes() const override { return false; }

 private:
  ByteBlock pixels_, labels_;
  std::int64_t size_;
  Shape shape_;
  std::int64_t classes_;
};

}  // namespace dptrain

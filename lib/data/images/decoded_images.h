// Purpose: samples that are decoded from files when they are asked for, and kept as bytes where there is room.
// Thread safety: as ImageSource. Invariants: at most `cache_bytes` of samples are kept, those with the lowest ids; a
//   sample's bytes are a function of the files alone, kept or not.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "data/images/image_files.h"
#include "data/images/image_source.h"
#include "spec/job_spec.h"

namespace dptrain {

struct DecodeOptions {
  bool resize =
      false;  ///< other extents are brought to the shape: scaled to cover it, the middle kept; otherwise refused
  OnBadSample on_bad_sample = OnBadSample::stop;
  std::int64_t cache_bytes = 0;
  std::function<void(const std::string&)> warning;  ///< from any thread; may be empty
};

class DecodedImages final : public ImageSource {
 public:
  /// The first `size` of the files; `shape` is (1 or 3, height, width).
  DecodedImages(std::shared_ptr<const ImageFiles> files, std::int64_t size, Shape shape, std::int64_t classes,
                DecodeOptions options);

  std::int64_t size() const override { return size_; }
  const Shape& shape() const override { return shape_; }
  std::int64_t classes() const override { return classes_; }
  /// A bad sample with `skip`: the next good one stands in for it, in the order of ids and around the end, with its own
  /// label; it is named in a warning once. So each epoch has as many samples as ever, and the same ones whoever reads
  /// them.
  StoredImage read(std::int64_t id, DecodeScratch& scratch) const override;
  bool decodes() const override { return true; }

 private:
  enum class State : std::uint8_t { absent, filling, kept, bad };
  /// Into the scratch's pixels. Errors (data), with the name.
  void decode(std::int64_t id, DecodeScratch& scratch) const;
  /// The bytes, or null where it is bad and to be skipped.
  const std::uint8_t* find(std::int64_t id, DecodeScratch& scratch) const;
  void note_bad(const std::string& why) const;

  std::shared_ptr<const ImageFiles> files_;
  std::int64_t size_;
  Shape shape_;
  std::int64_t classes_;
  DecodeOptions options_;
  std::int64_t kept_;  // samples that have room
  mutable ByteBlock cache_;
  std::unique_ptr<std::atomic<State>[]> states_;  // of those
  mutable std::mutex mutex_;
  mutable std::set<std::string> bad_;  // those that were named
};

/// One sample decoded into (channels, height, width): a part of `DecodedImages`. Errors (data), without the name.
void decode_sample(std::span<const std::uint8_t> file, const Shape& shape, bool resize, DecodeScratch& scratch,
                   std::uint8_t* out);

}  // namespace dptrain

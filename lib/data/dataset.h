// Purpose: immutable indexed samples. Images stay bytes in memory; conversion and normalisation happen in one pass,
//   when a batch is gathered. Thread safety: all methods are const and may be called from any number of threads at
//   once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/philox.h"
#include "core/shape.h"

namespace dptrain {

/// Samples that lie in memory as bytes: normalised = byte * scale + shift, of the value's channel.
struct ByteSamples {
  std::span<const std::uint8_t> pixels;  ///< (samples, shape)
  std::span<const std::uint8_t> labels;  ///< (samples)
  std::span<const float> scale, shift;   ///< (channels)
  std::int64_t plane = 0;                ///< values of a channel
};

/// One split (train or test) of a dataset.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual std::int64_t size() const = 0;
  /// One sample as the model sees it: (C, H, W) or (F).
  virtual const Shape& shape() const = 0;
  virtual std::int64_t classes() const = 0;

  /// Writes the normalised samples `ids` to `out`, (ids.size(), shape) row-major, and their labels to `labels`.
  /// Errors: none where the samples are in memory, as files are checked when they are read; data where they are decoded
  /// on the way, with the file's name. No allocation but of room that serves again.
  virtual void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const = 0;

  /// The same for training: augmented by what is drawn from `draws`, the stream of (seed, augment, epoch), for each id.
  virtual void gather_augmented(std::span<const std::int64_t> ids, const RandomStream& draws, float* out,
                                std::int32_t* labels) const {
    static_cast<void>(draws);
    gather(ids, out, labels);
  }
  /// Whether gather_augmented() gives other values than gather().
  virtual bool augments() const { return false; }
  /// Whether gathering is so much work (decoding) that threads ahead of the replicas pay even for small batches.
  virtual bool is_costly() const { return false; }

  /// What gather() reads, for devices that do that themselves; null where it is computed otherwise.
  virtual const ByteSamples* as_bytes() const { return nullptr; }
};

/// Both splits, and what a run wants to say about them.
struct DatasetPair {
  std::unique_ptr<const Dataset> train, test;
  std::string name;      ///< "mnist", "digits", or the folder
  std::string location;  ///< where the files were found, or "generated"
};

}  // namespace dptrain

// Purpose: immutable indexed samples. Images stay bytes in memory; conversion and normalisation happen in one pass, when a
//   batch is gathered. Thread safety: all methods are const and may be called from any number of threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

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
  /// No allocation. Errors: none once the dataset is built (files are checked when they are read).
  virtual void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const = 0;

  /// What gather() reads, for devices that do that themselves; null where it is computed otherwise.
  virtual const ByteSamples* as_bytes() const { return nullptr; }

  /// Bytes held in memory.
  virtual std::int64_t bytes() const = 0;
};

/// Both splits, and what a run wants to say about them.
struct DatasetPair {
  std::unique_ptr<const Dataset> train, test;
  std::string name;      ///< "mnist", "digits", or the folder
  std::string location;  ///< where the files were found, or "generated"
};

}  // namespace dptrain

// Purpose: what becomes of a sample's bytes before they are normalised: the job's augmentations for training, the
//   middle of the image for evaluation. Thread safety: immutable; a scratch is one caller's. Invariants: what is drawn
//   depends on (seed, epoch, sample id, place in the list) alone, so the same bytes come from any thread, replica and
//   batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/philox.h"
#include "core/shape.h"
#include "data/images/resample.h"
#include "spec/job_spec.h"

namespace dptrain {

/// Memory that serves again.
struct AugmentScratch {
  std::vector<std::uint8_t> now, next;
  Resampler resampler;
};

class Augmenter {
 public:
  /// `stored` is (channels, height, width), as the bytes come; `mean` has one entry a channel, in [0, 1].
  /// Errors (usage): a crop is larger than the image with its padding; `what` names the dataset.
  Augmenter(const Shape& stored, std::vector<AugmentSpec> list, std::span<const float> mean, const std::string& what);

  /// A sample as the model sees it.
  const Shape& output() const { return output_; }
  bool is_nothing() const { return list_.empty(); }

  /// The augmented sample: `pixels` itself where nothing changed them, else in the scratch. `draws` are of (seed,
  /// augment, epoch).
  const std::uint8_t* augment(const std::uint8_t* pixels, std::uint64_t id, const RandomStream& draws,
                              AugmentScratch& scratch) const;
  /// For evaluation: where the extents change, the middle of the image; where it is too small for that, all of it,
  /// scaled.
  const std::uint8_t* middle(const std::uint8_t* pixels, AugmentScratch& scratch) const;

 private:
  Shape stored_, output_;
  std::vector<AugmentSpec> list_;
  std::vector<std::uint8_t> fill_;  // by channel: the mean
};

}  // namespace dptrain

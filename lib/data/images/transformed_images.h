// Purpose: a dataset of images with what is done to them on the way: read, augment (or take the middle), normalise.
// Thread safety: as Dataset; each gather() under way has a scratch of its own, and scratches serve again.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "data/dataset.h"
#include "data/images/augment.h"
#include "data/images/image_source.h"
#include "data/measure.h"
#include "data/normalise.h"

namespace dptrain {

class TransformedImages final : public Dataset {
 public:
  /// `is_training`: gather_augmented() augments; otherwise it is gather().
  TransformedImages(std::unique_ptr<const ImageSource> source, Augmenter augmenter, const Normalisation& normalisation,
                    bool is_training);
  ~TransformedImages() override;

  std::int64_t size() const override { return source_->size(); }
  const Shape& shape() const override { return augmenter_.output(); }
  std::int64_t classes() const override { return source_->classes(); }
  /// As evaluation sees them: the middle of the image. Errors (data): a sample that cannot be read, by name.
  void gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const override;
  void gather_augmented(std::span<const std::int64_t> ids, const RandomStream& draws, float* out,
                        std::int32_t* labels) const override;
  bool augments() const override { return is_training_ && !augmenter_.is_nothing(); }
  bool is_costly() const override { return source_->decodes() || augments(); }

 private:
  struct Scratch {
    DecodeScratch decode;
    AugmentScratch augment;
  };
  class Borrowed;
  void gather_with(std::span<const std::int64_t> ids, const RandomStream* draws, float* out,
                   std::int32_t* labels) const;

  std::unique_ptr<const ImageSource> source_;
  Augmenter augmenter_;
  bool is_training_;
  BytesToFloats by_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> scratches_;  // not in use
};

}  // namespace dptrain

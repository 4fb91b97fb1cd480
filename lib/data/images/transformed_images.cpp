#include "data/images/transformed_images.h"

#include "core/error.h"
#include "data/normalise.h"

namespace dptrain {

/// A scratch for as long as one gather() takes.
class TransformedImages::Borrowed {
 public:
  explicit Borrowed(const TransformedImages& images) : images_(images) {
    const std::lock_guard lock(images.mutex_);
    if (images.scratches_.empty()) {
      scratch_ = std::make_unique<Scratch>();
    } else {
      scratch_ = std::move(images.scratches_.back());
      images.scratches_.pop_back();
    }
  }
  ~Borrowed() {
    const std::lock_guard lock(images_.mutex_);
    images_.scratches_.push_back(std::move(scratch_));
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  Scratch& operator*() { return *scratch_; }

 private:
  const TransformedImages& images_;
  std::unique_ptr<Scratch> scratch_;
};

TransformedImages::TransformedImages(std::unique_ptr<const ImageSource> source, Augmenter augmenter,
                                     const Normalisation& normalisation, bool is_training)
    : source_(std::move(source)),
      augmenter_(std::move(augmenter)),
      is_training_(is_training),
      by_(bytes_to_floats(normalisation, shape()[0])) {}

TransformedImages::~TransformedImages() = default;

void TransformedImages::gather(std::span<const std::int64_t> ids, float* out, std::int32_t* labels) const {
  gather_with(ids, nullptr, out, labels);
}

void TransformedImages::gather_augmented(std::span<const std::int64_t> ids, const RandomStream& draws, float* out,
                                         std::int32_t* labels) const {
  gather_with(ids, augments() ? &draws : nullptr, out, labels);
}

void TransformedImages::gather_with(std::span<const std::int64_t> ids, const RandomStream* draws, float* out,
                                    std::int32_t* labels) const {
  Borrowed scratch(*this);
  const std::int64_t plane = shape()[1] * shape()[2];
  for (std::size_t k = 0; k < ids.size(); ++k) {
    const StoredImage image = source_->read(ids[k], (*scratch).decode);
    const auto id = static_cast<std::uint64_t>(ids[k]);
    const std::uint8_t* bytes = draws != nullptr ? augmenter_.augment(image.pixels, id, *draws, (*scratch).augment)
                                                 : augmenter_.middle(image.pixels, (*scratch).augment);
    for (std::size_t c = 0; c < by_.scale.size(); ++c, bytes += plane, out += plane)
      normalise(bytes, plane, by_.scale[c], by_.shift[c], out);
    labels[k] = image.label;
  }
}

}  // namespace dptrain

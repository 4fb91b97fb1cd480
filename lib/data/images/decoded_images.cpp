#include "data/images/decoded_images.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/formats/input_file.h"

namespace dptrain {

void decode_sample(std::span<const std::uint8_t> file, const Shape& shape, bool resize, DecodeScratch& scratch,
                   std::uint8_t* out) {
  const std::int64_t channels = shape[0];
  const ImageExtents wanted{shape[1], shape[2]};
  const ImageExtents all{kMostPixels, kMostPixels};
  decode_image(file, channels, resize ? wanted : all, scratch.image);
  const Image& image = scratch.image;
  const std::int64_t plane = wanted.height * wanted.width;
  if (image.extents != wanted) {
    if (!resize) {
      fail(ExitStatus::data, "is {} x {} pixels, and the dataset's images are {} x {}; dataset.resize takes any",
           image.extents.width, image.extents.height, wanted.width, wanted.height);
    }
    scratch.resampler.prepare(image.extents, covering_box(image.extents, wanted), wanted);
    for (std::int64_t c = 0; c < channels; ++c) {
      const Plane from{image.bytes.data() + c, image.extents.width * channels, channels};
      scratch.resampler.resample(from, out + c * plane);
    }
    return;
  }
  const std::uint8_t* from = image.bytes.data();
  if (channels == 1) {
    std::memcpy(out, from, static_cast<std::size_t>(plane));
    return;
  }
  for (std::int64_t k = 0; k < plane; ++k, from += 3) {
    out[k] = from[0];
    out[plane + k] = from[1];
    out[2 * plane + k] = from[2];
  }
}

DecodedImages::DecodedImages(std::shared_ptr<const ImageFiles> files, std::int64_t size, Shape shape,
                             std::int64_t classes, DecodeOptions options)
    : files_(std::move(files)),
      size_(size),
      shape_(std::move(shape)),
      classes_(classes),
      options_(std::move(options)),
      kept_(std::clamp<std::int64_t>(options_.cache_bytes / shape_.elements(), 0, size)),
      cache_(static_cast<std::size_t>(kept_ * shape_.elements())),
      states_(std::make_unique<std::atomic<State>[]>(static_cast<std::size_t>(kept_))) {
  DPTRAIN_CHECK(size_ >= 1 && size_ <= files_->size(), "{} samples asked of {}", size_, files_->size());
}

void DecodedImages::decode(std::int64_t id, DecodeScratch& scratch) const {
  files_->read(id, scratch.file);
  scratch.pixels.resize(static_cast<std::size_t>(shape_.elements()));
  try {
    decode_sample(scratch.file, shape_, options_.resize, scratch, scratch.pixels.data());
  } catch (const Error& error) {
    throw Error(error.status(), fmt::format("{}: {}", files_->name(id), error.what()));
  }
}

const std::uint8_t* DecodedImages::find(std::int64_t id, DecodeScratch& scratch) const {
  const bool has_room = id < kept_;
  std::atomic<State>* state = has_room ? &states_[static_cast<std::size_t>(id)] : nullptr;
  std::uint8_t* place = cache_.data() + (has_room ? id * shape_.elements() : 0);
  if (has_room) {
    const State now = state->load(std::memory_order_acquire);
    if (now == State::kept) return place;
    if (now == State::bad) return nullptr;
  }
  try {
    decode(id, scratch);
  } catch (const ReadFailed&) {
    throw;  // which samples are good must not depend on the moment, or on who reads them
  } catch (const Error& error) {
    if (options_.on_bad_sample == OnBadSample::stop || error.status() != ExitStatus::data) throw;
    note_bad(error.what());
    if (has_room) state->store(State::bad, std::memory_order_release);
    return nullptr;
  }
  // Where another thread is filling the place, this one's copy serves: waiting would be no faster.
  State absent = State::absent;
  if (has_room && state->compare_exchange_strong(absent, State::filling, std::memory_order_relaxed)) {
    std::memcpy(place, scratch.pixels.data(), scratch.pixels.size());
    state->store(State::kept, std::memory_order_release);
  }
  return scratch.pixels.data();
}

StoredImage DecodedImages::read(std::int64_t id, DecodeScratch& scratch) const {
  for (std::int64_t k = 0; k < size_; ++k) {
    const std::int64_t candidate = (id + k) % size_;
    if (const std::uint8_t* pixels = find(candidate, scratch)) return {pixels, files_->label(candidate)};
  }
  fail(ExitStatus::data, "none of the {} samples can be read", size_);
}

void DecodedImages::note_bad(const std::string& why) const {
  constexpr std::size_t kNamed = 100;
  const std::lock_guard lock(mutex_);
  if (!options_.warning || bad_.size() > kNamed || !bad_.insert(why).second) return;
  options_.warning(bad_.size() > kNamed ? "more bad samples are not named"
                                        : fmt::format("{}; the next good sample stands in for it", why));
}

}  // namespace dptrain

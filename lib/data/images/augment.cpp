#include "data/images/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "data/images/hue.h"

namespace dptrain {
namespace {

/// The draws of one entry of the list, for one sample.
struct Draws {
  const RandomStream& stream;
  std::uint64_t id, place;
  static constexpr std::uint64_t kOfAnEntry = 64;

  double uniform(std::uint64_t k) const { return stream.uniform(id, place * kOfAnEntry + k); }
  /// In [0, count).
  std::int64_t below(std::uint64_t k, std::int64_t count) const {
    return static_cast<std::int64_t>(stream.bits(id, place * kOfAnEntry + k) * static_cast<std::uint64_t>(count) >> 32);
  }
  double between(std::uint64_t k, double low, double high) const { return low + (high - low) * uniform(k); }
};

/// A sample on its way: (channels, height, width), in the caller's memory at first, then in the scratch's.
struct Canvas {
  const std::uint8_t* pixels;
  std::int64_t channels;
  ImageExtents extents;
  AugmentScratch& scratch;
  std::span<const std::uint8_t> fill;

  std::int64_t plane() const { return extents.height * extents.width; }
  std::uint8_t* begin(ImageExtents to) {
    scratch.next.resize(static_cast<std::size_t>(channels * to.height * to.width));
    return scratch.next.data();
  }
  void done(ImageExtents to) {
    scratch.now.swap(scratch.next);
    pixels = scratch.now.data();
    extents = to;
  }
  /// For what changes bytes where they are.
  std::uint8_t* writable() {
    if (pixels != scratch.now.data() || scratch.now.empty()) {
      std::memcpy(begin(extents), pixels, static_cast<std::size_t>(channels * plane()));
      done(extents);
    }
    return scratch.now.data();
  }
};

ImageExtents size_of(std::int64_t height, std::int64_t width, ImageExtents own) {
  return height == 0 ? own : ImageExtents{height, width};
}

/// The rectangle at (top, left), which may reach beyond the image: black there.
void crop(Canvas& canvas, std::int64_t top, std::int64_t left, ImageExtents size) {
  const ImageExtents from = canvas.extents;
  if (top == 0 && left == 0 && size == from) return;
  std::uint8_t* to = canvas.begin(size);
  const std::int64_t begin = std::clamp<std::int64_t>(-left, 0, size.width);
  const std::int64_t end = std::clamp<std::int64_t>(from.width - left, begin, size.width);
  for (std::int64_t c = 0; c < canvas.channels; ++c) {
    for (std::int64_t y = 0; y < size.height; ++y, to += size.width) {
      const std::int64_t source = y + top;
      if (source < 0 || source >= from.height || begin == end) {
        std::memset(to, 0, static_cast<std::size_t>(size.width));
        continue;
      }
      const std::uint8_t* row = canvas.pixels + (c * canvas.plane() + source * from.width + left + begin);
      std::memset(to, 0, static_cast<std::size_t>(begin));
      std::memcpy(to + begin, row, static_cast<std::size_t>(end - begin));
      std::memset(to + end, 0, static_cast<std::size_t>(size.width - end));
    }
  }
  canvas.done(size);
}

void scale(Canvas& canvas, const Box& box, ImageExtents size) {
  std::uint8_t* to = canvas.begin(size);
  Resampler& resampler = canvas.scratch.resampler;
  resampler.prepare(canvas.extents, box, size);
  for (std::int64_t c = 0; c < canvas.channels; ++c) {
    const Plane plane{canvas.pixels + c * canvas.plane(), canvas.extents.width, 1};
    resampler.resample(plane, to + c * size.height * size.width);
  }
  canvas.done(size);
}

std::uint8_t to_byte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
}

/// byte = byte * factor + offset.
void blend(std::uint8_t* bytes, std::int64_t count, float factor, float offset) {
  for (std::int64_t k = 0; k < count; ++k) bytes[k] = to_byte(static_cast<float>(bytes[k]) * factor + offset);
}

float luma(const std::uint8_t* pixel, std::int64_t plane) {
  return 0.299f * static_cast<float>(pixel[0]) + 0.587f * static_cast<float>(pixel[plane]) +
         0.114f * static_cast<float>(pixel[2 * plane]);
}

struct Apply {
  Canvas& canvas;
  Draws draws;

  void operator()(const RandomCropSpec& spec) const {
    const ImageExtents size = size_of(spec.height, spec.width, canvas.extents);
    const std::int64_t down = canvas.extents.height + 2 * spec.padding - size.height;
    const std::int64_t right = canvas.extents.width + 2 * spec.padding - size.width;
    crop(canvas, draws.below(0, down + 1) - spec.padding, draws.below(1, right + 1) - spec.padding, size);
  }

  void operator()(const HorizontalFlipSpec& spec) const {
    if (draws.uniform(0) >= spec.probability) return;
    std::uint8_t* row = canvas.writable();
    const std::int64_t width = canvas.extents.width;
    for (std::int64_t y = 0; y < canvas.channels * canvas.extents.height; ++y, row += width)
      std::reverse(row, row + width);
  }

  void operator()(const CutoutSpec& spec) const {
    const auto [height, width] = canvas.extents;
    const std::int64_t top = draws.below(0, height) - spec.size / 2, left = draws.below(1, width) - spec.size / 2;
    const std::int64_t begin = std::max<std::int64_t>(left, 0), end = std::min(left + spec.size, width);
    std::uint8_t* pixels = canvas.writable();
    for (std::int64_t c = 0; c < canvas.channels; ++c) {
      for (std::int64_t y = std::max<std::int64_t>(top, 0); y < std::min(top + spec.size, height); ++y) {
        std::memset(pixels + c * canvas.plane() + y * width + begin, canvas.fill[static_cast<std::size_t>(c)],
                    static_cast<std::size_t>(end - begin));
      }
    }
  }

  /// Ten tries for a rectangle that fits, as is the custom; then the largest with an allowed ratio, in the middle.
  void operator()(const RandomResizedCropSpec& spec) const {
    const auto [height, width] = canvas.extents;
    const ImageExtents size = size_of(spec.height, spec.width, canvas.extents);
    const double area = static_cast<double>(height * width);
    for (std::uint64_t k = 0; k < 40; k += 4) {
      const double part = area * draws.between(k, spec.scale_min, spec.scale_max);
      const double ratio = std::exp(draws.between(k + 1, std::log(spec.ratio_min), std::log(spec.ratio_max)));
      const auto w = static_cast<std::int64_t>(std::lround(std::sqrt(part * ratio)));
      const auto h = static_cast<std::int64_t>(std::lround(std::sqrt(part / ratio)));
      if (w < 1 || h < 1 || w > width || h > height) continue;
      scale(canvas,
            {static_cast<double>(draws.below(k + 2, height - h + 1)),
             static_cast<double>(draws.below(k + 3, width - w + 1)), static_cast<double>(h), static_cast<double>(w)},
            size);
      return;
    }
    const double own = static_cast<double>(width) / static_cast<double>(height);
    const double ratio = std::clamp(own, spec.ratio_min, spec.ratio_max);
    Box box{0, 0, static_cast<double>(height), static_cast<double>(width)};
    if (own > ratio) box.width = std::max(1.0, box.height * ratio);
    if (own < ratio) box.height = std::max(1.0, box.width / ratio);
    box.top = (static_cast<double>(height) - box.height) / 2;
    box.left = (static_cast<double>(width) - box.width) / 2;
    scale(canvas, box, size);
  }

  float factor(std::uint64_t k, double strength) const {
    return static_cast<float>(draws.between(k, std::max(0.0, 1 - strength), 1 + strength));
  }

  void operator()(const ColourJitterSpec& spec) const {
    const std::int64_t plane = canvas.plane(), count = canvas.channels * plane;
    std::uint8_t* pixels = canvas.writable();
    if (spec.brightness > 0) blend(pixels, count, factor(0, spec.brightness), 0);
    if (spec.contrast > 0) {
      double sum = 0;
      for (std::int64_t k = 0; k < plane; ++k) {
        sum += canvas.channels == 3 ? luma(pixels + k, plane) : static_cast<float>(pixels[k]);
      }
      const float by = factor(1, spec.contrast);
      blend(pixels, count, by, (1 - by) * static_cast<float>(sum / static_cast<double>(plane)));
    }
    if (canvas.channels != 3) return;
    if (spec.saturation > 0) saturate(pixels, plane, factor(2, spec.saturation));
    if (spec.hue > 0) shift_hue(pixels, plane, static_cast<float>(draws.between(3, -spec.hue, spec.hue)));
  }

  static void saturate(std::uint8_t* pixels, std::int64_t plane, float by) {
    for (std::int64_t k = 0; k < plane; ++k) {
      const float grey = (1 - by) * luma(pixels + k, plane);
      for (std::int64_t c = 0; c < 3; ++c) {
        std::uint8_t& byte = pixels[c * plane + k];
        byte = to_byte(static_cast<float>(byte) * by + grey);
      }
    }
  }
};

}  // namespace

Augmenter::Augmenter(const Shape& stored, std::vector<AugmentSpec> list, std::span<const float> mean,
                     const std::string& what)
    : stored_(stored), list_(std::move(list)) {
  DPTRAIN_CHECK(stored.rank() == 3 && mean.size() == static_cast<std::size_t>(stored[0]), "images of {}",
                stored.text());
  for (const float value : mean) fill_.push_back(to_byte(value * 255));
  ImageExtents extents{stored[1], stored[2]};
  for (const AugmentSpec& spec : list_) {
    if (const auto* crop_ = std::get_if<RandomCropSpec>(&spec)) {
      const ImageExtents size = size_of(crop_->height, crop_->width, extents);
      if (size.height > extents.height + 2 * crop_->padding || size.width > extents.width + 2 * crop_->padding) {
        fail(ExitStatus::usage,
             "dataset.augment: random_crop of {}x{} from images of {}x{} with a padding of {} ({}); "
             "make the crop smaller, or the padding larger",
             size.height, size.width, extents.height, extents.width, crop_->padding, what);
      }
      extents = size;
    } else if (const auto* resized = std::get_if<RandomResizedCropSpec>(&spec)) {
      extents = size_of(resized->height, resized->width, extents);
    }
  }
  output_ = Shape{stored[0], extents.height, extents.width};
}

const std::uint8_t* Augmenter::augment(const std::uint8_t* pixels, std::uint64_t id, const RandomStream& draws,
                                       AugmentScratch& scratch) const {
  Canvas canvas{pixels, stored_[0], {stored_[1], stored_[2]}, scratch, fill_};
  for (std::size_t k = 0; k < list_.size(); ++k) std::visit(Apply{canvas, {draws, id, k}}, list_[k]);
  return canvas.pixels;
}

const std::uint8_t* Augmenter::middle(const std::uint8_t* pixels, AugmentScratch& scratch) const {
  const ImageExtents from{stored_[1], stored_[2]}, to{output_[1], output_[2]};
  if (from == to) return pixels;
  Canvas canvas{pixels, stored_[0], from, scratch, fill_};
  if (to.height <= from.height && to.width <= from.width) {
    crop(canvas, (from.height - to.height) / 2, (from.width - to.width) / 2, to);
  } else {
    scale(canvas, covering_box(from, to), to);
  }
  return canvas.pixels;
}

}  // namespace dptrain
